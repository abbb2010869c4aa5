"""Files decompressed and compared without the command line."""

import pytest
from cases import dense

from deepcompression.checkpoint import read_tensors, write_tensors
from deepcompression.common.binary import FormatError
from deepcompression.convert.from_dcz import decompress_file, verify_file
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import DenseTensor

TENSORS = {"a": dense("F32", (40, 50)), "b": dense("I64", (20,)), "c": Tie("a")}


@pytest.fixture
def file(tmp_path):
    save_tensors(tmp_path / "m.dcz", TENSORS, {"made by": "tests"})
    return tmp_path / "m.dcz"


def test_ties_are_written_in_full_and_progress_counts_their_bytes(file, tmp_path):
    told = []
    count = decompress_file(file, tmp_path / "m.safetensors", progress=lambda *numbers: told.append(numbers))
    found, metadata = read_tensors(tmp_path / "m.safetensors")
    assert count == len(found) == 3
    assert metadata == {"made by": "tests"}
    assert found["a"].elements.tobytes() == found["c"].elements.tobytes() == TENSORS["a"].elements.tobytes()
    total = 2 * 40 * 50 * 4 + 20 * 8
    # the widest elements come first
    assert told == [(0, total), (20 * 8, total), (20 * 8 + 40 * 50 * 4, total)]


def test_ties_count_in_full_against_the_limit(file, tmp_path):
    total = 2 * 40 * 50 * 4 + 20 * 8
    assert decompress_file(file, tmp_path / "m.safetensors", limit_bytes=total) == 3
    with pytest.raises(FormatError, match=f"with its ties in full it takes {total} bytes, the limit is {total - 1}"):
        decompress_file(file, tmp_path / "m.safetensors", limit_bytes=total - 1)


def test_differences_are_named_and_sorted(file, tmp_path):
    decompress_file(file, tmp_path / "m.safetensors")
    assert verify_file(file) == verify_file(file, tmp_path / "m.safetensors") == (3, [])
    others, metadata = read_tensors(tmp_path / "m.safetensors")
    others["d"] = others.pop("b")
    others["c"].elements[0] += 1
    others["a"] = DenseTensor("F32", others["a"].elements.reshape(50, 40))
    write_tensors(tmp_path / "n.safetensors", others, metadata)
    assert verify_file(file, tmp_path / "n.safetensors")[1] == [
        "a is [40, 50] of F32, expected [50, 40] of F32",
        f"b is only in {file}",
        "c has other elements",
        f"d is only in {tmp_path / 'n.safetensors'}",
    ]


def test_what_is_damaged_is_found_with_and_without_a_checkpoint(file, tmp_path):
    decompress_file(file, tmp_path / "m.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    for against in (None, tmp_path / "m.safetensors"):
        with pytest.raises(FormatError, match=r"tensor 'b': .* is damaged"):
            verify_file(file, against)
