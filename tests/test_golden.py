"""The bytes of the format, pinned: tests/golden/*.dcz must come out again, bit for bit, for ever.

`pytest --write-golden` writes them anew: only when the format changes on purpose.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import second_reader
from bad_files import BAD
from cases import CASES, GAP_BITS, content, dense, shared

from deepcompression.encode import CODERS
from deepcompression.file import DczFile, How, Tie, load_tensors, save_tensors
from deepcompression.tensor import MAX_CENTROIDS, STORAGE, WEIGHT_DTYPES, CompressedTensor, DenseTensor
from deepcompression.wire import FormatError

GOLDEN = Path(__file__).parent / "golden"
PAGE = Path(__file__).parents[1] / "docs" / "format.md"

PRUNED = shared(600, sorted({*range(0, 600, 11), *range(100, 140, 3)}), 6)
EXAMPLE = {
    "fc.weight": CompressedTensor(
        (4, 4), np.array([0, 1, 3, 5, 12]), np.array([-0.5, 1.5], "<f4"), np.array([1, 0, 1, 1, 1], np.uint8)
    ),
    "fc.bias": DenseTensor("F32", np.array([0.5, -1.0], "<f4")),
}

# file -> tensors, metadata, how
GOOD = {
    "worked-example": (EXAMPLE, {}, {}),
    "nothing": ({}, {}, {}),
    "every-dtype": (
        {f"{dtype} {len(shape)}": dense(dtype, shape) for dtype in STORAGE for shape in [(), (2,), (2, 0)]},
        {},
        {},
    ),
    "every-coder": (
        dict.fromkeys(("raw", "sparse", "huffman"), PRUNED),
        {},
        {c: How(c) for c in ("raw", "sparse")},
    ),
    "every-gap-width": ({f"b{b}": PRUNED for b in GAP_BITS}, {}, {f"b{b}": How("huffman", b) for b in GAP_BITS}),
    "every-weight-dtype": ({d: shared(600, list(range(0, 600, 2)), 5, d) for d in WEIGHT_DTYPES}, {}, {}),
    "many-centroids": ({"w": shared(2000, list(range(2000)), MAX_CENTROIDS, "F16")}, {}, {}),
    "one-centroid": ({"w": shared(5000, list(range(0, 5000, 250)), 1)}, {}, {}),
    "signs-and-nan": ({name: CASES[name] for name in ("signs of zero", "not finite", "F32 all zero")}, {}, {}),
    "ties-names-and-metadata": (
        {"größe": dense("I64", ()), "größer": Tie("größe"), "": dense("U8", (3,)), "x": Tie("größe")},
        {"größe": "€", "": "empty", "a\nb": ""},
        {},
    ),
}


def golden(folder, name):
    path = GOLDEN / folder / f"{name}.dcz"
    assert path.exists(), f"{path} is missing: it is part of the format, write it by --write-golden only on purpose"
    return path


def pinned(folder, name, data, write):
    path = GOLDEN / folder / f"{name}.dcz"
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert golden(folder, name).read_bytes() == data


@pytest.mark.parametrize("name", GOOD)
def test_writing_a_golden_file_anew_gives_the_same_bytes(name, tmp_path, write_golden):
    tensors, metadata, how = GOOD[name]
    save_tensors(tmp_path / "new.dcz", tensors, metadata, how)
    pinned("good", name, (tmp_path / "new.dcz").read_bytes(), write_golden)


@pytest.mark.parametrize("name", GOOD)
def test_both_readers_give_what_the_golden_file_was_made_from(name):
    tensors, metadata, _ = GOOD[name]
    path = golden("good", name)
    found_metadata, second = second_reader.read(path.read_bytes())
    with DczFile(path) as file:
        assert file.metadata == found_metadata == metadata
        assert list(file) == list(second) == list(tensors)
        for key, tensor in tensors.items():
            root = tensors[tensor.to] if isinstance(tensor, Tie) else tensor
            assert content(file.read(key)) == content(root) == tuple(second[key])


@pytest.mark.parametrize("name", BAD)
def test_a_bad_golden_file_is_the_one_of_its_story(name, write_golden):
    pinned("bad", name, BAD[name][0], write_golden)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_golden_file_is_refused_by_both_readers_with_its_message(name):
    path = golden("bad", name)
    with pytest.raises(FormatError, match=BAD[name][1]) as caught:
        load_tensors(path)
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(second_reader.RefusedError):
        second_reader.read(path.read_bytes())


@pytest.mark.parametrize(("folder", "stories"), [("good", GOOD), ("bad", BAD)])
def test_no_golden_file_is_without_its_story(folder, stories):
    assert sorted(path.stem for path in (GOLDEN / folder).iterdir()) == sorted(stories)


def test_the_numbers_of_coders_and_dtypes_are_those_of_the_page():
    page = PAGE.read_text()
    rows = dict(re.findall(r"^\| (\d) \| `(\w+)` \|", page, re.MULTILINE))
    assert rows == {"0": "alias"} | {str(coder.number): name for name, coder in CODERS.items()}
    dtypes = re.search(r"^\| name \|(.*)\|$", page, re.MULTILINE)
    assert [name.strip() for name in dtypes[1].split("|")] == list(STORAGE)


def test_the_worked_example_of_the_page_is_the_golden_file():
    example = PAGE.read_text().split("## A worked example")[1]
    rows = re.findall(r"^    ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:   .*)?$", example, re.MULTILINE)
    assert bytes.fromhex(" ".join(rows)) == golden("good", "worked-example").read_bytes()
