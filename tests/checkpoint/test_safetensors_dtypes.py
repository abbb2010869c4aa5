"""Dtypes of safetensors that NumPy does not have, and dtypes that safetensors does not have."""

import numpy as np
import pytest
import torch
from cases import dense, numbers
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch_file
from safetensors.torch import save_file as save_torch_file

from deepcompression.checkpoint import read_tensors, write_tensors
from deepcompression.common.binary import FormatError
from deepcompression.tensors.tensor import DenseTensor


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_a_dtype_that_nobody_here_knows_is_refused_by_name_as_no_damage(path):
    header = b'{"w":{"dtype":"F7_NEW","shape":[2],"data_offsets":[0,2]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"ab")
    with pytest.raises(ValueError, match=r"model.safetensors: tensor 'w' is of the dtype F7_NEW, which this ver") as e:
        read_tensors(path)
    assert not isinstance(e.value, FormatError)


@pytest.mark.parametrize(
    "name",
    ["float8_e8m0fnu", "float4_e2m1fn_x2", "float8_e4m3fnuz", "float8_e5m2fnuz", "uint16", "uint64", "complex64"],
)
def test_what_safetensors_writes_of_rare_dtypes_comes_back_from_it(path, name):
    tensor = torch.from_numpy(numbers(64).astype(np.uint8)).reshape(4, 16).view(getattr(torch, name))
    save_torch_file({"q": tensor}, path)
    write_tensors(path, *read_tensors(path))
    found = load_torch_file(path)["q"]
    assert found.dtype == tensor.dtype
    assert found.shape == tensor.shape
    assert torch.equal(found.view(torch.uint8), tensor.view(torch.uint8))


def test_complex_numbers_that_safetensors_does_not_have_are_pairs_for_it(path):
    value = np.array([[1 + 2j, 3 - 4j]])
    write_tensors(path, {"c": DenseTensor.from_numpy(value)}, {"k": "v"})
    found = load_file(path)["c"]
    assert np.array_equal(found, value.view(np.float64).reshape(1, 2, 2))
    tensors, metadata = read_tensors(path)
    assert metadata == {"k": "v"}
    assert np.array_equal(tensors["c"].numpy(), value)


@pytest.mark.parametrize("text", ["{", "[]", '{"w": 3}', '{"w": "C32"}', '{"w": "F8"}', '{"v": "C128"}'])
def test_untrue_metadata_on_pairs_change_nothing(path, text):
    save_file({"w": np.arange(6.0).reshape(3, 2)}, path, {"deepcompression.complex": text})
    assert read_tensors(path)[0]["w"].dtype == "F64"


def test_a_dtype_that_safetensors_does_not_have_is_not_written(path):
    with pytest.raises(ValueError, match=r"q is of I4, which \.safetensors files do not have"):
        write_tensors(path, {"q": dense("I4", (4,))}, {})
    assert not path.exists()
