"""What a patch meets that is damaged, or that is for another file."""

from pathlib import Path

import numpy as np
import pytest
from updates import network, retrained

import deepcompression as dc
from deepcompression.common.binary import checksum
from deepcompression.delta.apply import applied
from deepcompression.delta.huffman import Code
from deepcompression.delta.operations import RECODE, Change, Operations
from deepcompression.delta.plain import Recoding
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import DenseTensor


@pytest.fixture(params=["plain", "recoding", "whole"])
def kind(request, tmp_path, monkeypatch):
    """A folder with OLD, NEW and a patch of each kind."""
    monkeypatch.chdir(tmp_path)
    profile = {"plain": "device", "recoding": "fast", "whole": "fast"}[request.param]
    old = {name: tensor for name, tensor in network().items() if not name.startswith("fc0")}
    dc.save_tensors("old.dcz", {**old, "tied": Tie("table")}, profile=profile)
    other = {"other": DenseTensor.from_numpy(np.arange(100, dtype=np.uint8))}
    dc.save_tensors("new.dcz", other if request.param == "whole" else retrained(old), profile=profile)
    assert dc.make_patch("old.dcz", "new.dcz", "patch.dcp").kind == request.param
    return request.param


def apply(data, **limits):
    Path("tried.dcp").write_bytes(data)
    dc.apply_patch("old.dcz", "tried.dcp", "made.dcz", **limits)


def refused(error, words, data, **limits):
    with pytest.raises(error, match=words):
        apply(data, **limits)
    assert not Path("made.dcz").exists()


def test_the_new_file_is_as_it_was(kind):
    apply(Path("patch.dcp").read_bytes())
    assert Path("made.dcz").read_bytes() == Path("new.dcz").read_bytes()


@pytest.mark.parametrize("kind", ["plain", "recoding"], indirect=True)
def test_another_file_is_refused_by_name(kind):
    patch, old = Path("patch.dcp").read_bytes(), bytearray(Path("old.dcz").read_bytes())
    old[-1] ^= 1
    for other, words in (
        (bytes(old), "it has the checksum [0-9a-f]{8}, expected [0-9a-f]{8}"),
        (bytes(old[:-1]), "it has .* bytes, expected"),
    ):
        Path("old.dcz").write_bytes(other)
        with pytest.raises(ValueError, match="old.dcz is not the file that tried.dcp was made for: " + words) as caught:
            apply(patch)
        assert not isinstance(caught.value, dc.FormatError)
        assert not Path("made.dcz").exists()


@pytest.mark.parametrize("kind", ["whole"], indirect=True)
def test_the_whole_new_file_goes_with_any_other(kind):
    Path("old.dcz").write_bytes(b"any file")
    apply(Path("patch.dcp").read_bytes())
    assert Path("made.dcz").read_bytes() == Path("new.dcz").read_bytes()


def test_every_truncation_is_refused(kind):
    patch = Path("patch.dcp").read_bytes()
    for length in [*range(60), *range(60, len(patch), 37), len(patch) - 1]:
        refused(dc.FormatError, "^tried.dcp: ", patch[:length])


def test_every_flipped_byte_is_refused(kind):
    patch = Path("patch.dcp").read_bytes()
    for at in [*range(60), *range(60, len(patch), 37), len(patch) - 1]:
        damaged = bytearray(patch)
        damaged[at] ^= 1 << at % 8
        # an update of the wrong size may be OLD's, before its checksum is compared
        refused(dc.FormatError, "^tried.dcp: ", bytes(damaged))


def test_something_behind_the_patch_is_refused(kind):
    refused(dc.FormatError, "^tried.dcp: ", Path("patch.dcp").read_bytes() + b"\0")


def test_other_files_are_refused(kind):
    refused(dc.FormatError, "not a patch: it begins with 68 65 6c 6c", b"hello, world")
    refused(dc.FormatError, "not a patch: it begins with nothing", b"")


def test_another_version_is_refused(kind):
    patch = bytearray(Path("patch.dcp").read_bytes())
    patch[4] = 2
    refused(dc.FormatError, "version 2 .*is not known", bytes(patch))


@pytest.mark.parametrize("kind", ["recoding"], indirect=True)
def test_the_limit_counts_decoded_and_recoded_tensors(kind):
    patch = Path("patch.dcp").read_bytes()
    with dc.DczFile("old.dcz") as file:
        decoded = sum(entry.nbytes for name, entry in file.entries.items() if name.endswith("weight"))
    refused(dc.FormatError, "bytes when decoded", patch, limit_bytes=decoded)
    apply(patch, limit_bytes=4 * decoded)


@pytest.mark.parametrize("kind", ["plain"], indirect=True)
def test_the_limit_counts_the_new_file(kind):
    refused(
        dc.FormatError, "the new file has .* bytes, the limit is 500", Path("patch.dcp").read_bytes(), limit_bytes=500
    )


@pytest.mark.parametrize("kind", ["plain"], indirect=True)
def test_a_patch_that_gives_another_file_is_refused(kind):
    """Every checksum but that of NEW is right."""
    patch, right = Path("patch.dcp").read_bytes(), checksum(Path("new.dcz").read_bytes()).to_bytes(4, "little")
    assert patch.count(right) == 1
    wrong = patch[:-4].replace(right, bytes(4))
    refused(dc.FormatError, "a checksum does not match", wrong + checksum(wrong).to_bytes(4, "little"))


@pytest.mark.parametrize(("gap", "words"), [(10, None), (3, "payload is malformed")], ids=["at", "behind"])
def test_a_survivor_behind_the_end_of_an_old_group_is_refused(gap, words):
    """Ten elements in OLD, each gap and code without bits; NEW has no survivor."""

    def head(gap):
        return b"\1\1\xff" + table(gap) + table(7) + b"\0"

    old, new = head(gap), head(10)
    rest = b"\4\0\0\1\1\x0a\0" + table(256)
    operations = Operations()
    operations.change(Change(new, RECODE, len(new), len(old), rest, 10))
    operations.literal(b"end")
    patch = operations.patch(old, new + b"end")
    if words is None:
        assert applied(old, patch, "old", "patch") == new + b"end"
    else:
        with pytest.raises(dc.FormatError, match=words):
            applied(old, patch, "old", "patch")


def table(symbol):
    """A table with one symbol."""
    return Code.of(np.bincount([symbol])).table


@pytest.mark.parametrize("kind", ["recoding"], indirect=True)
def test_a_recoding_patch_that_names_no_tensor_is_refused(kind):
    patch = Path("patch.dcp").read_bytes()
    inner = patch.index(b"\x89DCP")
    head, _ = Recoding.read(patch)
    for number in (5, 100):
        head.decoded[0] = number
        refused(dc.FormatError, f"tensor number {number} of the old file", head.write() + patch[inner:])
    head, _ = Recoding.read(patch)
    for number in (5, 100):
        head.recoded[0] = head.recoded[0]._replace(number=number)
        refused(dc.FormatError, f"tensor number {number} of the new file", head.write() + patch[inner:])


@pytest.mark.parametrize("kind", ["recoding"], indirect=True)
def test_a_recoding_patch_that_names_a_tensor_twice_is_refused(kind):
    """Each name may cost a decoder's work, and takes one byte."""
    patch = Path("patch.dcp").read_bytes()
    inner = patch[patch.index(b"\x89DCP") :]
    head, _ = Recoding.read(patch)
    for twice in (head._replace(decoded=head.decoded * 2), head._replace(recoded=head.recoded * 2)):
        refused(dc.FormatError, "it names a tensor twice", twice.write() + inner)
