"""The form `tile` in plain torch operations, compared with dense weights and with the core."""

import math

import numpy as np
import pytest
import torch
from packed_matrices import matrix
from torch.nn import functional as F

from deepcompression.packed import multiply, packing, torch_reference
from deepcompression.packed.convolution import ConvolutionSettings
from deepcompression.tensors.tensor import CompressedTensor

SHAPES = [(0, 5), (3, 0), (1, 1), (5, 7), (37, 131), (64, 126), (17, 1000)]


def tile(shape, centroids, density=0.3):
    """Packed weights, their header, and the dense ones."""
    flat = matrix(shape[0], math.prod(shape[1:]), density, centroids)
    tensor = CompressedTensor(shape, flat.positions, flat.codebook, flat.codes)
    packed = packing.pack(tensor, form="tile")
    return torch.from_numpy(packed), packing.header(packed), torch.from_numpy(np.array(tensor.numpy()))


def floats(*shape, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def assert_near(found, expected):
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    assert not expected.numel() or (found - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("chunk", [1, 300, 1 << 20])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("centroids", [1, 16, 32, 33, 256])
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_those_of_the_dense_weights(shape, centroids, bias, chunk, monkeypatch):
    monkeypatch.setattr(torch_reference, "_CHUNK_ELEMENTS", chunk)
    packed, header, weight = tile(shape, centroids)
    for leading in [(3,), (), (2, 3)]:
        x, term = floats(*leading, shape[1]), floats(shape[0], seed=2) if bias else None
        expected = F.linear(x.double(), weight.double(), None if term is None else term.double())
        assert_near(torch_reference.multiply(packed, header, x, term), expected)


@pytest.mark.parametrize("chunk", [1, 100, 300, 1 << 20])
@pytest.mark.parametrize("settings", [{}, {"stride": 2, "padding": 1}, {"padding": "same", "dilation": 2}])
@pytest.mark.parametrize(("kernel", "groups"), [((3,), 1), ((3, 5), 2), ((1, 3, 1), 4)])
def test_convolutions_are_those_of_the_dense_weights(kernel, groups, settings, chunk, monkeypatch):
    monkeypatch.setattr(torch_reference, "_CHUNK_ELEMENTS", chunk)
    packed, header, weight = tile((44, 4, *kernel), 16)
    settings = ConvolutionSettings.of(len(kernel), **settings, groups=groups)
    for leading in [(2,), ()]:
        x, bias = floats(*leading, 4 * groups, *[9] * len(kernel)), floats(44, seed=2)
        expected = torch_reference.CONVOLUTIONS[len(kernel)](x.double(), weight.double(), bias.double(), *settings)
        assert_near(torch_reference.convolve(packed, header, x, bias, tuple(weight.shape), settings), expected)


@pytest.mark.parametrize("chunk", [1, 100, 1 << 20])
@pytest.mark.parametrize("shape", [(1, 1), (3, 0), (5, 7), (16, 3, 5, 5), (101, 37)])
@pytest.mark.parametrize("centroids", [1, 16, 32, 256])
def test_rows_are_decoded_as_the_core_decodes_them(shape, centroids, chunk, monkeypatch):
    monkeypatch.setattr(torch_reference, "_CHUNK_ELEMENTS", chunk)
    packed, header, _ = tile(shape, centroids)
    expected = multiply.rows(packed.numpy(), 0, shape[0])
    numbers = torch.tensor([shape[0] - 1, 0, *range(shape[0])])
    found = torch_reference.decode_rows(packed, header, numbers)
    assert np.array_equal(found.numpy(), expected[numbers.numpy()])
    nothing = torch_reference.decode_rows(packed, header, numbers[:0])
    assert nothing.shape == (0, expected.shape[1])


def test_the_dense_matrix_is_never_made(monkeypatch):
    """The chunk and the vectors bound every allocation."""
    rows, columns = 512, 2048
    packed, header, _ = tile((rows, columns), 16, 0.1)
    monkeypatch.setattr(torch_reference, "_CHUNK_ELEMENTS", 1 << 12)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.untyped_storage().nbytes())
            return out

    with Watch():
        torch_reference.multiply(packed, header, torch.randn(1, columns), None)
    assert largest <= max(len(packed), 1 << 16) < rows * columns * 4 / 8


def test_other_forms_are_refused():
    packed = packing.pack(matrix(5, 7, 0.3, 16))
    with pytest.raises(ValueError, match="window"):
        torch_reference.multiply(torch.from_numpy(packed), packing.header(packed), torch.zeros(1, 7), None)
    with pytest.raises(ValueError, match="window"):
        torch_reference.decode_rows(torch.from_numpy(packed), packing.header(packed), torch.zeros(1, dtype=torch.int64))
