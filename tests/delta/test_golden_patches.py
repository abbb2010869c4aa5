"""The bytes of patches, pinned: two bytes with the size of OLD, OLD, and the patch that makes NEW of it."""

from pathlib import Path

import pytest
import slow_patches
from golden_patches import UPDATES

import deepcompression as dc
from deepcompression.delta.apply import applied

# an operation that a patch must show
KINDS = {
    **dict.fromkeys(("codes", "few-codes", "mask", "rows", "bytes"), slow_patches.RECODE),
    **dict.fromkeys(("same", "order"), slow_patches.COPY),
    "floats": slow_patches.DIFFERENCE,
}

GOLDEN = Path(__file__).parents[1] / "golden" / "patches"


def golden(name):
    path = GOLDEN / name
    assert path.exists(), f"{path} is missing: it is part of the format, write it by --write-golden only on purpose"
    data = path.read_bytes()
    end = 2 + int.from_bytes(data[:2], "little")
    return data[2:end], data[end:]


@pytest.mark.parametrize("name", UPDATES)
def test_making_a_golden_patch_again_gives_the_same_bytes(name, tmp_path, write_golden):
    for file, tensors in zip(("old.dcz", "new.dcz"), UPDATES[name], strict=True):
        dc.save_tensors(tmp_path / file, tensors, profile="device")
    assert dc.make_patch(tmp_path / "old.dcz", tmp_path / "new.dcz", tmp_path / "patch.dcp").kind == "plain"
    old, patch = ((tmp_path / file).read_bytes() for file in ("old.dcz", "patch.dcp"))
    if write_golden:
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / name).write_bytes(len(old).to_bytes(2, "little") + old + patch)
    assert golden(name) == (old, patch)
    assert applied(old, patch, "old", "patch") == (tmp_path / "new.dcz").read_bytes()


@pytest.mark.parametrize("name", UPDATES)
def test_both_readers_apply_the_golden_patch(name, tmp_path):
    old, patch = golden(name)
    new = applied(old, patch, "old", "patch")
    kinds: list[int] = []
    assert new == slow_patches.read(patch, old, kinds)
    assert KINDS[name] in kinds
    (tmp_path / "new.dcz").write_bytes(new)
    assert list(dc.load_tensors(tmp_path / "new.dcz")) == list(UPDATES[name][1])
