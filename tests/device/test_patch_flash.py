"""Patches as boards apply them: in a flash memory that loses its power, by callbacks that fail, damaged."""

import re
from typing import NamedTuple

import device_c
import numpy as np
import pytest
from updates import network, other_head, other_masks, pruned_and_shared, retrained

import deepcompression as dc
from deepcompression.tensors.tensor import DenseTensor

SOURCES = ("patch", "patch_huffman", "patch_operations", "patch_recode", "patch_flash", "dcz")


@pytest.fixture(scope="module")
def program():
    return device_c.compile(
        ["tests/device/patch_flash.c", *(f"device/{name}.c" for name in SOURCES)], name="patch_flash"
    )


class Job(NamedTuple):
    """Files of an update, and the flash memory of a board. `page` is in bytes, `region` and `log` are in pages."""

    program: object
    folder: object
    sizes: dc.PatchSizes
    page: int
    region: int
    log: int

    def run(self, what, *more, **other):
        job = self._replace(**{name: value for name, value in other.items() if name != "work"})
        work = other.get("work", self.sizes.work_bytes)
        files = [self.folder / name for name in ("old.dcz", "patch.dcp", "new.dcz")]
        printed = device_c.run(self.program, [what, *files, job.page, job.region, job.log, work, *more]).decode()
        return {name: int(value) for name, value in re.findall(r"(\w+) (\d+)", printed)}


def job(program, folder, old, new, page=64, spare=4, log=24, profile="device"):
    """`spare` pages of the region are free."""
    dc.save_tensors(folder / "old.dcz", old, profile=profile)
    dc.save_tensors(folder / "new.dcz", new, profile=profile)
    sizes = dc.make_patch(folder / "old.dcz", folder / "new.dcz", folder / "patch.dcp")
    return Job(program, folder, sizes, page, -(-max(sizes.old_bytes, sizes.new_bytes) // page) + spare, log)


def tiny():
    """Every kind of operation in a few hundred bytes."""
    generator = np.random.default_rng(0)
    return {
        "a.weight": pruned_and_shared((8, 24), 0.2, 8, 1),
        "a.bias": DenseTensor.from_numpy(generator.standard_normal(8, np.float32)),
        "b.weight": pruned_and_shared((6, 12), 0.4, 4, 2),
        "bytes": DenseTensor.from_numpy(generator.integers(0, 9, 20, np.uint8)),
    }


@pytest.fixture
def small(program, tmp_path):
    old = tiny()
    return job(program, tmp_path, old, {**retrained(other_masks(old)), "bytes": old["bytes"]})


@pytest.fixture
def large(program, tmp_path):
    return job(program, tmp_path, network(), retrained(other_masks(network())), page=1024, spare=3, log=6)


ERRORS = {"coder": 8, "work": 10, "size": 11, "old": 13}


def test_a_file_replaces_itself(large):
    done = large.run("update")
    # each byte of OLD is moved, each of NEW written, and each page of NEW takes a place in the log
    pages = -(-large.sizes.new_bytes // 1024) + 1
    assert done["written"] < 2 * 1024 * (2 * pages + 2 * pages * -(-done["log"] // 1024) + 10)


def test_power_may_fail_at_every_byte(small):
    assert small.sizes.kind == "plain"
    done = small.run("cuts", 1, 1)
    assert done["cuts"] == done["of"] > 4000


def test_power_may_fail_with_little_room(small):
    spare = next(n for n in range(1, 50) if "error" not in small.run("update", region=small.region - 4 + n))
    assert small.run("update", region=small.region - 5 + spare)["error"] == ERRORS["size"]
    assert small.run("cuts", 3, 2, region=small.region - 4 + spare)["cuts"] > 1000


@pytest.mark.parametrize("seed", range(3))
def test_power_may_fail_while_large_pages_are_written(large, seed):
    assert large.run("cuts", 2003, seed + 1)["cuts"] > 20


@pytest.mark.parametrize(
    "new",
    [other_head(network(), 15), dict(reversed(network().items())), {"table": network()["table"]}],
    ids=["another head", "reordered", "removed"],
)
def test_power_may_fail_in_any_kind_of_update(program, tmp_path, new):
    # a new order uses bytes from the end of OLD first
    update = job(program, tmp_path, network(), new, page=256, spare=60, log=8)
    assert update.run("cuts", 1009, 7)["cuts"] > 10


def test_power_may_fail_while_the_whole_file_is_written(program, tmp_path):
    new = {"other": DenseTensor.from_numpy(np.random.default_rng(0).integers(0, 256, 500, np.uint8))}
    update = job(program, tmp_path, tiny(), new)
    assert update.sizes.kind == "whole"
    assert update.run("cuts", 5, 1)["cuts"] > 100


def test_a_damaged_patch_leaves_the_old_file_as_it_was(small):
    done = small.run("damaged")
    assert done["refused"] == 9 * small.sizes.patch_bytes
    # bits that no reader uses, such as those of the size of the work buffer
    assert done["harmless"] < 100


def test_a_callback_may_fail_at_any_call(small):
    assert small.run("unread", 1)["failures"] > 100


def test_a_patch_that_needs_encoders_is_refused(program, tmp_path):
    update = job(program, tmp_path, network(), retrained(network()), page=1024, log=8, profile="fast")
    assert update.sizes.kind == "recoding"
    assert update.run("update", work=4096) == {"error": ERRORS["coder"]}


def test_a_work_buffer_one_byte_too_small_is_refused(small):
    assert small.run("update", work=small.sizes.work_bytes - 1) == {"error": ERRORS["work"]}


def test_a_log_with_one_place_is_refused(small):
    log = small.run("update")["log"] // 64
    assert "error" not in small.run("update", log=2 * log)
    assert small.run("update", log=2 * log - 1) == {"error": ERRORS["size"]}


def test_a_region_without_room_for_the_new_file_is_refused(program, tmp_path):
    update = job(program, tmp_path, tiny(), {**tiny(), "more": network()["table"]}, spare=-1)
    assert update.run("update") == {"error": ERRORS["size"]}


def test_a_region_with_another_file_is_refused(small):
    dc.save_tensors(small.folder / "old.dcz", retrained(tiny(), seed=5), profile="device")
    assert small.run("update") == {"error": ERRORS["old"]}


def test_the_room_that_a_patch_states_is_enough(program, tmp_path):
    update = job(program, tmp_path, network(), retrained(other_masks(network())), page=4096, log=4)
    pages = update.sizes.in_place_bytes // 4096
    assert "error" not in update.run("update", region=pages)
    assert update.run("update", region=pages - 1) == {"error": ERRORS["size"]}
