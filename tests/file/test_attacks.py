"""Attacks of docs/format.md that no other test repels. Every attack of that page names an existing test."""

import ast
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import handmade
import mutate
import mutations
import numpy as np
import pytest
from cases import content, shared

from benchmarks import page, sections, tables
from deepcompression.coding.coders import CODERS
from deepcompression.coding.encode_part import Encode
from deepcompression.common.binary import FormatError
from deepcompression.file.reader import DczFile
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.dtypes import STORAGE
from deepcompression.tensors.tensor import DenseTensor

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "format.md").read_text()
ATTACKS = "".join(
    PAGE.partition(f"\n{title}\n")[2].partition("\n## ")[0] for title in ("## Attacks", "### Readers of patches")
)
NAMED = sorted(set(re.findall(r"`(test_\w+)::(test_\w+)`", ATTACKS)))


def test_the_section_names_tests():
    assert len(NAMED) > 20
    for line in ATTACKS.splitlines():
        if line.startswith("| ") and not line.startswith(("| attack", "| ---")):
            assert re.search(r"`test_\w+::test_\w+`", line), line


@pytest.mark.parametrize(("module", "name"), NAMED)
def test_every_test_that_the_section_names_exists(module, name):
    # rooms may have modules of the same name
    trees = [ast.parse(path.read_text()) for path in TESTS.rglob(f"{module}.py")]
    assert name in {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}


# --- limits


def number_of(coder):
    return CODERS[coder].number


@pytest.mark.parametrize("coder", CODERS)
def test_a_claim_over_the_limit_is_refused_before_memory_is_asked_for(coder, tmp_path):
    path = tmp_path / "bad.dcz"
    path.write_bytes(handmade.one(b"\0", coder=number_of(coder), shape=(2**40,)))
    tracemalloc.start()
    with pytest.raises(
        FormatError, match="the tensors take 4398046511104 bytes when decoded, the limit is 68719476736"
    ):
        DczFile(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("dtype", ["F64", "BF16"])
def test_the_limit_counts_what_the_index_claims_whatever_the_coder(coder, dtype, tmp_path):
    path = tmp_path / "file.dcz"
    tensor = shared(777, [3, 700], 2, dtype)
    claimed = 777 * STORAGE[dtype].itemsize
    save_tensors(path, {"w": tensor}, how={"w": Encode(coder=coder)})
    with DczFile(path, claimed) as file:
        assert content(file.read("w")) == content(tensor)
    with pytest.raises(FormatError, match=f"take {claimed} bytes when decoded, the limit is {claimed - 1}"):
        DczFile(path, claimed - 1)


# payloads without elements: fast has a mask without a layout and without a bit set; small no survivors and no mask;
# deflate an empty stream; device no survivors
EMPTY = {
    **{"raw": b"", "sparse": b"\0", "huffman": b"\0", "fast": b"\0\0\0", "small": b"\0\0\0", "deflate": b"\3\0"},
    "device": b"\0",
}


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("shape", [(0, 2**30, 2**30), (2**60, 0), (1, 0, 2**31, 0, 2**29)])
def test_a_huge_shape_with_an_empty_axis_takes_nothing(coder, shape, tmp_path):
    path = tmp_path / "file.dcz"
    path.write_bytes(handmade.one(EMPTY[coder], coder=number_of(coder), shape=shape))
    tracemalloc.start()
    with DczFile(path, limit_bytes=0) as file:
        assert file.read("w").shape == file.read_dense("w").shape == file["w"].shape == shape
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_hashes_of_names_differ_between_processes():
    code = "import sys; assert sys.flags.hash_randomization; print(hash('fc.weight'))"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    runs = [subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True) for _ in range(3)]
    assert len({run.stdout for run in runs}) == 3


def test_reading_one_tensor_reads_no_other_s_bytes(tmp_path):
    path = tmp_path / "file.dcz"
    tensor = shared(900, list(range(0, 900, 7)), 5)
    save_tensors(path, dict.fromkeys(CODERS, tensor), how={coder: Encode(coder=coder) for coder in CODERS})
    sound = path.read_bytes()
    for coder in CODERS:
        with DczFile(path) as file:
            entry = file.entries[coder]
        end = entry.offset + entry.length
        head = sound[: file.head_bytes]
        others = [bytes([0xFF]) * (entry.offset - len(head)), bytes([0xFF]) * (len(sound) - end)]
        path.write_bytes(head + others[0] + sound[entry.offset : end] + others[1])
        with DczFile(path) as file:
            asked = []
            read = file._bytes
            file._bytes = lambda *place, read=read, asked=asked: asked.append(place[:2]) or read(*place)
            assert content(file.read(coder)) == content(file.read_dense(coder)) == content(tensor)
            file.check(coder)
            assert set(asked) == {(entry.offset, entry.length)}
        path.write_bytes(sound)


# --- memory and time

BOMBS = """
import resource, sys
from deepcompression.file.reader import DczFile
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
path, dense_bytes = sys.argv[1], int(sys.argv[2])
with DczFile(path) as file:
    before = peak()
    tensor = file.read_dense("w", threads=2)
    assert tensor.elements.nbytes == dense_bytes
    tensor.elements.reshape(-1)[::512] = 0  # touches it all
print(peak() - before)
"""


def memory_to_read(path, tensor):
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, path, str(tensor.elements.nbytes)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def constant(dtype, size):
    return DenseTensor(dtype, np.full(size, 1, STORAGE[dtype]))


# bytes for each element besides the element itself and the payload, as the page says
@pytest.mark.parametrize(
    ("tensor", "coder", "more"),
    [
        (constant("U8", 1 << 26), "fast", 1 / 8),
        (constant("F32", 1 << 24), "fast", 1 / 8),
        (constant("F64", 1 << 23), "fast", 1 / 8),
        (constant("F32", 1 << 23), "huffman", 17),
        (constant("F16", 1 << 23), "huffman", 17),
        (constant("F64", 1 << 22), "sparse", 17),
        (constant("F32", 1 << 23), "raw", 0),
        (constant("F32", 1 << 22), "small", 9 / 8),
        (constant("U8", 1 << 24), "small", 9 / 8),
    ],
    ids=lambda value: f"{value.dtype} {value.shape}" if isinstance(value, DenseTensor) else None,
)
def test_a_tensor_takes_no_more_memory_than_the_page_says(tensor, coder, more, tmp_path):
    path = tmp_path / "bomb.dcz"
    save_tensors(path, {"w": tensor}, how={"w": Encode(coder=coder)})
    stored = path.stat().st_size
    assert (stored < 200) == (coder in ("fast", "small", "huffman"))
    dense = tensor.elements.nbytes
    assert memory_to_read(path, tensor) < dense + stored + tensor.elements.size * more + (12 << 20)


def test_many_tiny_tensors_cost_little_each(tmp_path):
    count = 30_000
    path = tmp_path / "many.dcz"
    names = [b"%d" % i for i in range(2 * count)]
    own = [handmade.entry(b"", shape=(0,), name=name) for name in names[:count]]
    path.write_bytes(handmade.file([*own, *(handmade.alias(name, 0) for name in names[count:])]))
    tracemalloc.start()
    start = time.process_time()
    with DczFile(path) as file:
        assert len(file) == 2 * count
        assert time.process_time() - start < 2 * count * 100e-6
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size + 2 * count * 1000
    tracemalloc.stop()


def test_spoilt_files_are_refused_or_read_as_saved_in_little_time_and_memory():
    total = mutate.run(mutate.chunks_of(first=0, count=2000, seconds=None), processes=1)
    assert not total.failures
    assert sum(total.outcomes.values()) == 2000
    for kind in ("bytes", "splice", "index", "payload", "shape", "coder"):
        assert total.outcomes[f"{kind}: refused"] > total.outcomes[f"{kind}: other tensors"]


def never():
    while True:
        pass


@pytest.mark.parametrize(
    ("story", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "ended with -9"),
        (never, "ended with -14"),
        (lambda: time.sleep(9), "ended with -14"),
        (lambda: sum(range(10_000_000)) and "refused", "seconds"),
        (lambda: bytearray(2 * mutate.MEMORY_BYTES), "MemoryError"),
        (lambda: 1 / 0, "ZeroDivisionError"),
    ],
    ids=["crash", "loop", "sleep", "slow", "memory", "exception"],
)
def test_forbidden_outcomes_of_a_spoilt_file_are_noticed(story, words, monkeypatch):
    monkeypatch.setattr(mutate, "HANG_SECONDS", 2)
    monkeypatch.setattr(mutate, "SECONDS", 0.01)
    monkeypatch.setattr(mutate, "outcome", lambda case, path: story())
    total = mutate.run(iter([range(5, 6)]), processes=1)
    assert list(total.failures) == [5]
    assert words in total.failures[5]


def test_a_run_has_its_place_on_the_page_of_results():
    total = mutate.Tally(Counter({"bytes: refused": 999_999, "index: other tensors": 1}), {}, (0.25, 7), 4096)
    result = mutate.result_of(total, processes=2, seconds=60)
    assert (
        tables.table(["spoilt", "other tensors", "refused"], [["bytes", "0", "999,999"], ["index", "1", "0"]])
        in (sections.hostile(result)[1])
    )
    assert "\n| a million" in page.demands(result)
    assert "missed" not in page.demands(result)
    total.failures[3] = "bytes: MemoryError: "
    assert "| **missed**: " in page.demands(mutate.result_of(total, 2, 60))


def test_tensors_that_nobody_saved_are_noticed(tmp_path):
    sound = mutations.samples()[0]
    case = mutations.Case("bytes", sound.whole, [sound.saved], repaired=False)
    assert mutate.outcome(case, tmp_path / "file.dcz") == "the same tensors"
    with pytest.raises(AssertionError, match="nobody saved"):
        mutate.outcome(case._replace(saved=[]), tmp_path / "file.dcz")
