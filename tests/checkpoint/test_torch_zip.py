"""Archives of torch.save: a damaged bit is noticed when its tensor is read, and nothing sound is refused."""

import sys
import zipfile

import pytest
import torch
from cases import content

from deepcompression.checkpoint import open_checkpoint, torch_save
from deepcompression.checkpoint.torch_zip import Archive, Memory
from deepcompression.common.binary import FormatError
from deepcompression.tensors.from_torch import from_torch

# equal lengths, a view of a part, one without elements, and a tie
BASE = torch.arange(3000, dtype=torch.float32)
STATE = {f"layer{number}": torch.full((64, 64), float(number)) for number in range(4)} | {
    "part": BASE[100:200],
    "turned": torch.arange(600, dtype=torch.int64).reshape(20, 30).t(),
    "empty": torch.zeros(0, 3),
    "tied": BASE[100:200],
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


def members(path):
    """Name -> (offset, length) of each member's bytes, by looking for them."""
    whole, found = path.read_bytes(), {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            data = archive.read(member)
            found[member.filename.partition("/")[2]] = whole.index(data, member.header_offset), len(data)
    return found


def flip(path, offset, bit=0):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


def read(path, name):
    with open_checkpoint(path) as source:
        return content(source.read(name))


@pytest.mark.parametrize("renew", [1, 1 << 30])
@pytest.mark.parametrize("beside", [{}, {"optimizer": {"state": {0: {"exp_avg": torch.ones(64, 64)}}}}])
def test_a_flipped_bit_is_found_in_the_tensor_that_has_it_and_in_no_other(renew, beside, path, monkeypatch):
    monkeypatch.setattr(torch_save, "_RENEW_BYTES", renew)
    torch.save({"state_dict": STATE} | beside, path)
    assert {name: read(path, name) for name in STATE} == {n: content(from_torch(n, t)) for n, t in STATE.items()}
    data = {name: place for name, place in members(path).items() if name.startswith("data/") and place[1]}
    for number, (member, (offset, length)) in enumerate(data.items()):
        at = offset + (length - 1) * number // len(data)
        flip(path, at, number % 8)
        with open_checkpoint(path) as source:
            for name in STATE:
                if name in holders(member):
                    with pytest.raises(FormatError, match=rf"{name} is damaged: .*/{member} .* fetch the file again"):
                        source.read(name)
                else:
                    source.read(name)
        flip(path, at, number % 8)


def holders(member):
    """The tensors whose elements are in a member: torch.save numbers them as they come."""
    order = [*([f"layer{number}"] for number in range(4)), ["part", "tied"], ["turned"], ["empty"], []]
    return order[int(member.removeprefix("data/"))]


def test_a_damaged_pickle_is_refused_when_it_is_opened(path):
    torch.save(STATE, path)
    offset, _ = members(path)["data.pkl"]
    # within the name of a tensor, which would but be another one
    flip(path, path.read_bytes().index(b"layer1", offset) + 5, 1)
    with pytest.raises(FormatError, match="its pickle is damaged"):
        open_checkpoint(path)


def test_a_file_without_checksums_is_read(path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert {name: read(path, name) for name in STATE} == {n: content(from_torch(n, t)) for n, t in STATE.items()}


def test_what_lies_where_cannot_be_told_is_not_judged(path):
    """One storage, and two members that it may be."""
    torch.save({"a": torch.ones(4096), "b": torch.ones(4096)}, path)
    archive = Archive.of(path)
    (a, length), (b, _) = members(path)["data/0"], members(path)["data/1"]
    base = 1 << 40
    assert archive.offsets([Memory(base + a, length), Memory(base + b, length)]) == {
        Memory(base + a, length): a,
        Memory(base + b, length): b,
    }
    assert archive.offsets([Memory(base + a + 1, length)]) == {}
    assert archive.offsets([Memory(base + a, length - 1)]) == {}
    assert archive.offsets([Memory(0, 0)]) == {}
    archive._members = {a: archive._members[a], a + (1 << 20): archive._members[a]}
    assert archive.offsets([Memory(base + a, length)]) == {}


def test_elements_in_the_other_order_of_bytes_are_not_judged(path):
    torch.save(STATE, path)
    offset, length = members(path)["byteorder"]
    data = bytearray(path.read_bytes())
    other = {"little": b"big", "big": b"little"}[sys.byteorder]
    data[offset : offset + length] = other.ljust(length)
    path.write_bytes(data)
    assert Archive.of(path).offsets([Memory(1 << 40, 4)]) == {}
    assert not Archive.of(path)._native
