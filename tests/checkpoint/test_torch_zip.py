"""Archives of torch.save: a damaged bit is found when the file is opened, and no sound file is refused."""

import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from cases import content

from deepcompression.checkpoint import open_checkpoint
from deepcompression.checkpoint.torch_zip import check_members
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


@pytest.mark.parametrize("beside", [{}, {"optimizer": {"state": {0: {"exp_avg": torch.ones(64, 64)}}}}])
def test_a_flipped_bit_in_any_member_is_found(beside, path):
    torch.save({"state_dict": STATE} | beside, path)
    found = {name: place for name, place in members(path).items() if place[1]}
    assert {"data.pkl", "data/0", "version"} <= found.keys()
    for number, (member, (offset, length)) in enumerate(found.items()):
        at = offset + (length - 1) * number // len(found)
        flip(path, at, number % 8)
        with pytest.raises(FormatError, match=rf"Bad CRC-32 for file '.*/{member}'.* damaged.*: fetch it again"):
            open_checkpoint(path)
        flip(path, at, number % 8)
    assert {name: read(path, name) for name in STATE} == {n: content(from_torch(n, t)) for n, t in STATE.items()}


def test_a_name_that_would_but_be_another_one_is_found(path):
    torch.save(STATE, path)
    flip(path, path.read_bytes().index(b"layer1", members(path)["data.pkl"][0]) + 5, 1)
    with pytest.raises(FormatError, match=r"Bad CRC-32 for file .*/data.pkl"):
        open_checkpoint(path)


def test_a_file_without_checksums_is_read(path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert {name: read(path, name) for name in STATE} == {n: content(from_torch(n, t)) for n, t in STATE.items()}


def test_members_are_read_in_chunks(path):
    torch.save({"a": torch.zeros(1 << 22)}, path)
    tracemalloc.start()
    try:
        check_members(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_compressed_archive_is_refused(path):
    torch.save(STATE, path.with_name("whole.pt"))
    with zipfile.ZipFile(path.with_name("whole.pt")) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    with pytest.raises(FormatError, match=r"data.pkl is compressed, which torch.save never does"):
        open_checkpoint(path)


def test_members_that_share_their_bytes_are_refused(path):
    """Many members over the same bytes would make a small file long to check."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(2):
            archive.writestr(f"archive/data/{number}", bytes([number]) * 5000)
        for member in archive.infolist():
            member.header_offset, member.CRC = 0, archive.infolist()[0].CRC
            member.file_size = member.compress_size = 8000
    with pytest.raises(FormatError, match="its members claim 16000 bytes, the file has "):
        open_checkpoint(path)


def test_a_spoilt_archive_is_refused_or_read_as_it_was(path):
    torch.save(STATE, path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    expected = {name: content(from_torch(name, tensor)) for name, tensor in STATE.items()}
    heads = [at for at in range(len(whole)) if whole[at : at + 2] == b"PK"]
    for _ in range(300):
        data = bytearray(whole)
        at = int(rng.choice(heads)) + int(rng.integers(46))
        data[at : at + 4] = rng.bytes(int(rng.integers(1, 5)))
        path.write_bytes(data)
        try:
            found = {name: read(path, name) for name in STATE}
        except ValueError:
            continue
        assert found == expected
