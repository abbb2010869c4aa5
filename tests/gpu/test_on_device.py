"""Operators as they compute on a GPU, by Triton's interpreter on tensors of the CPU."""

import numpy as np
import pytest
import torch
from cases import shared
from torch.nn import functional as F

from deepcompression.nn import on_device
from deepcompression.nn.on_device import convolution_on, product_on, rows_on
from deepcompression.packed import packing
from deepcompression.packed.convolution import ConvolutionSettings

DTYPES = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def weight(form, *shape, centroids=5):
    """Dense and packed, with the header."""
    size = int(np.prod(shape))
    tensor = shared(size, list(range(0, size, 3)), centroids, "F32", shape)
    packed = packing.pack(tensor, form=form)
    return torch.from_numpy(tensor.numpy()), torch.from_numpy(packed), packing.header(packed)


def floats(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def assert_near(found, expected, bound):
    assert found.shape == expected.shape
    assert (found.double() - expected).abs().max() <= bound * expected.abs().max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", ["word", "tile"])
def test_products(form, dtype, monkeypatch):
    dense, packed, header = weight(form, 40, 70)
    x, bias = floats(2, 2, 70, dtype=dtype), floats(40, dtype=dtype)
    y = product_on(x, packed, header, bias)
    assert y.dtype == dtype
    assert_near(y, F.linear(x.double(), dense.double(), bias.double()), DTYPES[dtype])


# NumPy, which the interpreter computes with, warns of it
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_sums_beyond_float16_are_infinite_as_in_dense_layers():
    dense, packed, header = weight("word", 40, 70)
    x = torch.full((1, 70), 60000.0, dtype=torch.float16)
    found, expected = product_on(x, packed, header, None), F.linear(x.float(), dense).half()
    assert torch.isinf(expected).any()
    assert torch.equal(torch.isinf(found), torch.isinf(expected))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows(dtype):
    dense, packed, header = weight("tile", 40, 70)
    # every second number alone
    numbers = torch.tensor([3, 1, 39, 1, 0, 1, 3, 1])[::2]
    found = rows_on(numbers, packed, header, dtype)
    assert found.dtype == dtype
    # the interpreter cuts bfloat16 off, where GPUs round
    assert_near(found, dense[numbers].double(), 2**-7 if dtype == torch.bfloat16 else 2**-11)


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_in_pieces(groups, monkeypatch):
    monkeypatch.setattr(on_device, "_PIECE_WEIGHTS", 4 * 9 * 6)
    dense, packed, header = weight("tile", 16, 6, 3, 3)
    x, bias = floats(2, 6 * groups, 7, 7), floats(16)
    settings = ConvolutionSettings.of(2, padding=1, groups=groups)
    found = convolution_on(x, packed, header, bias, (16, 6, 3, 3), settings)
    assert_near(found, F.conv2d(x.double(), dense.double(), bias.double(), padding=1, groups=groups), 1e-5)
