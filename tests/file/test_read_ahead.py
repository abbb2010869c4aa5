"""Tensors that are read before they are asked for."""

import numpy as np
import pytest

import deepcompression as dc
from deepcompression.file import read_ahead
from deepcompression.file.read_ahead import ReadAhead
from deepcompression.file.reader import DczFile

NAMES = [f"layer{number}.weight" for number in range(6)]


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A file of six tensors; two wait at most."""
    monkeypatch.setattr(read_ahead, "LEAST_BYTES", 1)
    monkeypatch.setattr(read_ahead, "MOST_BYTES", 2 * 4 * 60)
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal((6, 10)).astype(np.float32) for name in NAMES}
    dc.save_tensors(tmp_path / "m.dcz", {name: dc.DenseTensor.from_numpy(array) for name, array in arrays.items()})
    return tmp_path / "m.dcz"


def read(file, order, asked, threads):
    ahead = ReadAhead(file, order, threads)
    try:
        return [ahead.read(name).dense().numpy().tolist() for name in asked]
    finally:
        ahead.close()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("asked", [NAMES, NAMES[::-1], [*NAMES[::2], *NAMES], [NAMES[3]], []])
def test_the_tensors_are_those_of_the_file_in_any_order(path, asked, threads):
    with DczFile(path) as file:
        assert read(file, NAMES, asked, threads) == [file[name].tolist() for name in asked]
        assert read(file, NAMES[2:4], asked, threads) == [file[name].tolist() for name in asked]


def test_tensors_wait_up_to_a_number_of_bytes(path, monkeypatch):
    with DczFile(path) as file:
        ahead = ReadAhead(file, NAMES, 2)
        for name in NAMES:
            ahead.read(name)
            assert sum(file.entries[each].nbytes for each in ahead._reading) <= read_ahead.MOST_BYTES
            assert name not in ahead._reading
        ahead.close()


def test_the_error_of_a_tensor_is_raised_when_that_tensor_is_read(path):
    with DczFile(path) as file:
        entry = file.entries[NAMES[2]]
    data = bytearray(path.read_bytes())
    data[entry.offset + entry.length // 2] ^= 1
    path.write_bytes(data)
    with DczFile(path) as file:
        ahead = ReadAhead(file, NAMES, 3)
        ahead.read(NAMES[0])
        ahead.read(NAMES[1])
        with pytest.raises(dc.FormatError, match=f"{NAMES[2]}.*damaged"):
            ahead.read(NAMES[2])
        assert ahead.read(NAMES[3]).dense().numpy().tolist() == file[NAMES[3]].tolist()
        ahead.close()


def test_small_files_need_no_threads(tmp_path, path, monkeypatch):
    monkeypatch.setattr(read_ahead, "LEAST_BYTES", 1 << 20)
    with DczFile(path) as file:
        assert ReadAhead(file, NAMES, 8)._pool is None
