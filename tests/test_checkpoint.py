import json
import stat

import numpy as np
import pytest
from cases import content, dense
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from deepcompression.checkpoint import read_checkpoint, write_checkpoint
from deepcompression.tensor import STORAGE, DenseTensor
from deepcompression.wire import FormatError

EVERY = {f"{dtype} {shape}": dense(dtype, shape) for dtype in STORAGE for shape in [(), (0,), (2, 0), (5,), (2, 3)]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def raw_file(path, header, data=b""):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_every_dtype_and_shape_comes_back_bit_for_bit(path):
    write_checkpoint(path, EVERY, {"größe": "5", "a": ""})
    tensors, metadata = read_checkpoint(path)
    assert metadata == {"größe": "5", "a": ""}
    assert {name: content(tensor) for name, tensor in tensors.items()} == {
        name: content(tensor) for name, tensor in EVERY.items()
    }


def test_safetensors_reads_what_is_written(path):
    arrays = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "ü": np.array(True), "b": np.zeros((0, 2), "<i8")}
    write_checkpoint(path, {name: DenseTensor.from_numpy(array) for name, array in arrays.items()}, {"k": "v"})
    found = load_file(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    with safe_open(path, "numpy") as file:
        assert file.metadata() == {"k": "v"}


def test_what_safetensors_writes_is_read(path):
    arrays = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.array([1, 2], "<i2"), "c": np.array(3.0)}
    save_file(arrays, path, {"k": "v"})
    tensors, metadata = read_checkpoint(path)
    assert metadata == {"k": "v"}
    for name, array in arrays.items():
        assert np.array_equal(tensors[name].numpy(), array)


def test_no_tensor_straddles_its_alignment(path):
    write_checkpoint(path, EVERY, {"k": "v"})
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    for name, tensor in EVERY.items():
        assert header[name]["data_offsets"][0] % tensor.elements.itemsize == 0


def test_elements_in_any_layout_are_written_in_order(path):
    tensor = DenseTensor("F32", np.arange(6, dtype="<f4").reshape(2, 3).T)
    write_checkpoint(path, {"a": tensor}, {})
    assert np.array_equal(load_file(path)["a"], [[0, 3], [1, 4], [2, 5]])


def test_the_same_tensors_give_the_same_bytes(path):
    files = []
    for metadata in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}):
        write_checkpoint(path, EVERY, metadata)
        files.append(path.read_bytes())
    assert files[0] == files[1]


def test_the_file_is_as_readable_as_any_other(path, tmp_path):
    write_checkpoint(path, {}, {})
    (tmp_path / "other").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_the_name_kept_for_metadata_is_refused(path):
    with pytest.raises(ValueError, match="cannot hold a tensor named __metadata__"):
        write_checkpoint(path, {"__metadata__": dense("U8", (1,))}, {})
    assert not path.exists()


def test_a_failure_leaves_the_old_file(path, monkeypatch):
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_checkpoint(path, EVERY, {})
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["model.pt", "model.onnx", "model", "model.safetensors.bin"])
def test_another_kind_of_file_is_refused_with_a_remedy(tmp_path, name):
    with pytest.raises(ValueError, match=r"checkpoints are read from .safetensors files; convert it first"):
        read_checkpoint(tmp_path / name)


def test_a_dtype_that_nobody_here_knows_is_refused_by_name(path):
    raw_file(path, {"w": {"dtype": "F8_E8M0", "shape": [2], "data_offsets": [0, 2]}}, b"ab")
    with pytest.raises(FormatError, match=r"tensor 'w' is of dtype F8_E8M0, known are F64, "):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"abcd"),
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"abcd"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"abcdefgh"),
        ({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"abcd"),
        ({"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, b"abcd"),
        ({"w": 3}, b""),
        ([], b""),
    ],
)
def test_a_header_that_does_not_fit_the_bytes_is_refused(path, header, data):
    raw_file(path, header, data)
    with pytest.raises(FormatError, match="not a sound safetensors file"):
        read_checkpoint(path)


def test_every_truncation_is_refused(path):
    write_checkpoint(path, {"a": dense("F32", (3,)), "b": dense("U8", (2,))}, {"k": "v"})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match="not a sound safetensors file"):
            read_checkpoint(path)


def test_a_missing_file_or_a_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        read_checkpoint(tmp_path / "no.safetensors")
    assert caught.value.filename == str(tmp_path / "no.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(IsADirectoryError):
        read_checkpoint(tmp_path / "folder.safetensors")
