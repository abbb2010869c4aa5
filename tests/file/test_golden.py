"""The bytes of the format, pinned: the writer must make tests/golden/*.dcz again, bit for bit.

`pytest --write-golden` rewrites them, only when the format changes on purpose.
"""

import re
from pathlib import Path

import pytest
import second_reader
import second_reader_blocks
import second_reader_mask
from bad_files import BAD
from cases import content
from golden_files import EXAMPLE, GOOD, SHOWN

from deepcompression.coding.coders import CODERS, encode
from deepcompression.common.binary import FormatError
from deepcompression.file.reader import DczFile, load_tensors
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.dtypes import STORAGE
from deepcompression.tensors.entry import Tie

GOLDEN = Path(__file__).parents[1] / "golden"
PAGE = Path(__file__).parents[2] / "docs" / "format.md"


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
def test_writing_a_golden_file_again_gives_the_same_bytes(name, tmp_path, write_golden):
    tensors, metadata, how = GOOD[name]
    save_tensors(tmp_path / "new.dcz", tensors, metadata, how)
    pinned("good", name, (tmp_path / "new.dcz").read_bytes(), write_golden)


@pytest.mark.parametrize("name", GOOD)
def test_both_readers_give_what_the_golden_file_was_made_from(name):
    tensors, metadata, _ = GOOD[name]
    path = golden("good", name)
    found_metadata, second = second_reader.read(path.read_bytes())
    with DczFile(path) as file:
        assert file.work_bytes == int(found_metadata.pop("device.work", "0"))
        assert file.metadata == found_metadata == metadata
        assert list(file) == list(second) == list(tensors)
        for key, tensor in tensors.items():
            root = tensors[tensor.to] if isinstance(tensor, Tie) else tensor
            assert content(file.read(key)) == content(file.read_dense(key)) == content(root) == tuple(second[key])


@pytest.mark.parametrize("name", SHOWN)
def test_a_golden_file_holds_the_layouts_that_it_is_there_for(name, monkeypatch):
    # each of these functions of the second reader begins at the number of a layout
    seen = {reader: set() for reader in ("read_block", "read_mask", "read_sequence")}
    for module in (second_reader, second_reader_blocks, second_reader_mask):
        for reader, numbers in seen.items():
            if hasattr(module, reader):
                monkeypatch.setattr(module, reader, noting(getattr(module, reader), numbers))
    second_reader.read(golden("good", name).read_bytes())
    for expected, found in zip(SHOWN[name], seen.values(), strict=True):
        assert found >= expected


def noting(reader, numbers):
    def read(source, *arguments):
        if source.at < len(source.data):
            numbers.add(source.data[source.at])
        return reader(source, *arguments)

    return read


def test_no_golden_file_is_large():
    for path in GOLDEN.glob("*/*.dcz"):
        assert path.stat().st_size < 60_000


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
    numbers, names = (re.findall(rf"^\| {row} \|(.*)\|$", page, re.MULTILINE) for row in ("dtype", "name"))
    assert [int(number) for row in numbers for number in row.split("|")] == list(range(len(STORAGE)))
    assert [name.strip() for row in names for name in row.split("|")] == list(STORAGE)


def hex_of(text):
    rows = re.findall(r"^    ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:   .*)?$", text, re.MULTILINE)
    return bytes.fromhex(" ".join(rows))


def test_the_worked_examples_of_the_page_are_the_golden_file_and_the_payload_of_fast():
    huffman, fast = PAGE.read_text().split("## A worked example")[1].split("### The same tensor by `fast`")
    assert hex_of(huffman) == golden("good", "worked-example").read_bytes()
    assert hex_of(fast) == encode(EXAMPLE["fc.weight"], "fast")[1]
