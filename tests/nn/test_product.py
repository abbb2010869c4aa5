"""Products of tensors: every way gives the twin's result, or leaves what kernels do not take as it is."""

import numpy as np
import pytest
import torch
from running_models import floats
from torch import nn

from deepcompression.nn import product
from deepcompression.packed import packing
from deepcompression.tensors.from_torch import from_torch
from deepcompression.tensors.tensor import CompressedTensor

ROWS, COLUMNS = 96, 80


@pytest.fixture(params=["by_addresses", "product"])
def multiply(request):
    """Where torch is older than 2.10, both are the first."""
    return getattr(product, request.param)


@pytest.fixture(scope="module")
def dense():
    weight = torch.round(floats(ROWS, COLUMNS) * 4) / 4
    weight[:, ::3] = 0
    return weight


@pytest.fixture(scope="module")
def packed(dense):
    return torch.from_numpy(packing.pack(CompressedTensor.from_dense(from_torch("w", dense))))


@pytest.mark.parametrize(
    "shape", [(COLUMNS,), (1, COLUMNS), (3, COLUMNS), (2, 1, 3, COLUMNS), (0, COLUMNS), (2, 0, COLUMNS)]
)
@pytest.mark.parametrize("bias", [None, floats(ROWS), nn.Parameter(floats(ROWS))])
def test_plain_tensors_of_any_leading_shape_are_multiplied(dense, packed, multiply, shape, bias):
    x = floats(*shape)
    y = multiply(packed, x, bias, False, 1)
    expected = x.double() @ dense.double().T + (0 if bias is None else bias.detach().double())
    assert type(y) is torch.Tensor
    assert y.dtype == torch.float32
    assert y.shape == expected.shape
    assert torch.allclose(y.double(), expected, rtol=0, atol=1e-5)


class Subclass(torch.Tensor):
    """A tensor that may mean something else."""


@pytest.mark.parametrize(
    "x",
    [
        floats(3, COLUMNS + 1),
        torch.tensor(1.0),
        floats(3, COLUMNS).double(),
        floats(COLUMNS, 3).t(),
        floats(1, COLUMNS).expand(3, -1),
        floats(3, COLUMNS).to_sparse(),
        floats(3, COLUMNS).to("meta"),
        torch._neg_view(floats(3, COLUMNS)),
        torch._efficientzerotensor((3, COLUMNS)),
        floats(3, COLUMNS).as_subclass(Subclass),
        np.zeros((3, COLUMNS), np.float32),
        None,
    ],
    ids=lambda x: type(x).__name__,
)
def test_other_inputs_are_left(packed, multiply, x):
    assert multiply(packed, x, None, False, 1) is None


@pytest.mark.parametrize(
    "bias",
    [
        floats(ROWS + 1),
        floats(1, ROWS),
        floats(ROWS).double(),
        floats(2 * ROWS)[::2],
        floats(ROWS).to("meta"),
        torch._neg_view(floats(ROWS)),
        floats(ROWS).as_subclass(Subclass),
    ],
)
def test_other_biases_are_left(packed, multiply, bias):
    assert multiply(packed, floats(3, COLUMNS), bias, False, 1) is None


def test_bytes_that_are_no_packed_weights_are_refused(packed, multiply):
    for damaged in (packed[:63], packed[:-1], torch.zeros(640, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="packed weights"):
            multiply(damaged, floats(3, COLUMNS), None, False, 1)
