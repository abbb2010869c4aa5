"""Convolutions and embeddings from packed weights are those of torch with the dense weights."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from deepcompression import _core, convolve, packing
from deepcompression.tensor import CompressedTensor

# torch says so of its own padding.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def shared(shape, density=0.35, centroids=256, seed=0):
    rng = np.random.default_rng(seed)
    positions = np.flatnonzero(rng.random(math.prod(shape)) < density).astype(np.int64)
    codebook = np.sort(rng.standard_normal(centroids)).astype(np.float32)
    return CompressedTensor(shape, positions, codebook, rng.integers(0, centroids, len(positions)).astype(np.uint8))


def packed(tensor):
    return torch.from_numpy(packing.pack(tensor, form="tile"))


def inputs(*shape):
    return torch.from_numpy(np.random.default_rng(1).standard_normal(shape).astype(np.float32))


def assert_same(tensor, x, bias, stride=(1,), padding=(0,), dilation=(1,), groups=1):
    """Within 1e-6 of the largest from float64, or at most twice as far from it as torch's own result."""
    weight = torch.from_numpy(tensor.numpy())
    dense = CONVOLUTIONS[weight.dim() - 2]
    settings = (stride, padding if isinstance(padding, str) else tuple(padding), dilation, groups)
    exact = dense(x.double(), weight.double(), None if bias is None else bias.double(), *settings)
    found = convolve.convolve(x, packed(tensor), bias, tensor.shape, *settings)
    assert found.shape == exact.shape
    assert found.dtype == torch.float32
    if exact.numel():
        own = (dense(x, weight, bias, *settings) - exact).abs().max()
        assert (found - exact).abs().max() <= max(1e-6 * exact.abs().max(), 2 * own)


@pytest.mark.parametrize("instruction_set", _core.instruction_sets())
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 3, "valid"])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_two_dimensions(instruction_set, batch, stride, padding, dilation, groups):
    _core.force_instruction_set(instruction_set)
    try:
        edges = padding if isinstance(padding, str) else (padding,)
        tensor = shared((10, 6 // groups, 3, 3))
        assert_same(tensor, inputs(batch, 6, 13, 11), inputs(10), (stride,), edges, (dilation,), groups)
    finally:
        _core.force_instruction_set("")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding", [(0,), (2,), "same"])
@pytest.mark.parametrize(("channels", "groups"), [(8, 1), (8, 4), (1, 1)])
def test_one_dimension(bias, padding, channels, groups):
    tensor = shared((12, channels // groups, 5))
    assert_same(tensor, inputs(2, channels, 40), inputs(12) if bias else None, padding=padding, groups=groups)
    assert_same(tensor, inputs(2, channels, 40), None, (2,), (1,), (2,), groups)


@pytest.mark.parametrize("padding", [(0,), (1, 0, 2), "same"])
@pytest.mark.parametrize("groups", [1, 3])
def test_three_dimensions(padding, groups):
    tensor = shared((9, 6 // groups, 3, 1, 2))
    assert_same(tensor, inputs(2, 6, 5, 6, 7), inputs(9), padding=padding, groups=groups)
    if padding != "same":
        assert_same(tensor, inputs(1, 6, 5, 6, 7), None, (2, 1, 3), padding, (1, 2, 1), groups)


def test_numbers_for_each_dimension_even_kernels_and_one_by_one():
    assert_same(shared((7, 5, 4, 2)), inputs(2, 5, 17, 19), inputs(7), (2, 3), (3, 1), (1, 2))
    assert_same(shared((7, 5, 4, 2)), inputs(2, 5, 17, 19), inputs(7), padding="same")
    assert_same(shared((33, 65, 1, 1)), inputs(1, 65, 9, 9), inputs(33))
    assert_same(shared((12, 1, 3, 3)), inputs(2, 12, 9, 9), None, padding=(1,), groups=12)


@pytest.mark.parametrize("density", [0, 0.01, 1])
@pytest.mark.parametrize("centroids", [1, 16, 256])
def test_every_density_and_codebook(density, centroids):
    assert_same(shared((17, 19, 3, 3), density, centroids), inputs(1, 19, 14, 14), inputs(17), padding=(1,))


def test_layers_of_alexnet_and_vgg():
    assert_same(shared((96, 3, 11, 11), 0.84), inputs(1, 3, 227, 227), inputs(96), (4,))
    assert_same(shared((384, 192, 3, 3), 0.37), inputs(1, 384, 13, 13), inputs(384), padding=(1,), groups=2)
    assert_same(shared((512, 512, 3, 3), 0.35), inputs(2, 512, 14, 14), inputs(512), padding=(1,))


def test_no_batch_no_elements_and_strided_inputs():
    tensor = shared((6, 4, 3, 3))
    x = inputs(4, 9, 9)
    found = convolve.convolve(x, packed(tensor), None, tensor.shape, (1,), (1,), (1,), 1)
    expected = functional.conv2d(x, torch.from_numpy(tensor.numpy()), None, 1, 1)
    torch.testing.assert_close(found, expected)
    assert_same(tensor, inputs(0, 4, 9, 9), None)
    assert_same(tensor, inputs(2, 9, 4, 9).transpose(1, 2), inputs(6))
    assert_same(tensor, inputs(2, 4, 9, 9).to(memory_format=torch.channels_last), inputs(6))


@pytest.mark.parametrize("scratch", [1, 4 * 54 * 5, 4 * 54 * 20, 4 * 54 * 33])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_small_scratch_takes_the_weights_piece_by_piece(scratch, groups, monkeypatch):
    monkeypatch.setattr(convolve, "SCRATCH_BYTES", scratch)
    monkeypatch.setattr(convolve, "_own", type("Own", (), {})())
    tensor = shared((44, 6, 3, 3))
    assert_same(tensor, inputs(2, 6 * groups, 10, 10), inputs(44), padding=(1,), groups=groups)
    assert convolve._own.scratch.numel() * 4 <= max(scratch, 4 * 54)


def test_threads_are_torchs(monkeypatch):
    before, tensor = torch.get_num_threads(), shared((64, 64, 3, 3))
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert_same(tensor, inputs(1, 64, 20, 20), None)
    finally:
        torch.set_num_threads(before)


def test_infinities_and_nans_go_where_dense_weights_take_them():
    tensor, x = shared((6, 4, 3, 3)), inputs(1, 4, 9, 9)
    x[0, 1, 4, 4], x[0, 2, 8, 0] = math.inf, math.nan
    found = convolve.convolve(x, packed(tensor), None, tensor.shape, (1,), (1,), (1,), 1)
    expected = functional.conv2d(x, torch.from_numpy(tensor.numpy()), None, 1, 1)
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found.isinf(), expected.isinf())


def test_the_result_has_no_gradient():
    tensor = shared((6, 4, 3, 3))
    x = inputs(1, 4, 9, 9).requires_grad_()
    assert not convolve.convolve(x, packed(tensor), None, tensor.shape, (1,), (1,), (1,), 1).requires_grad


def test_mistakes_are_named():
    tensor = shared((6, 4, 3, 3))
    weights, x = packed(tensor), inputs(1, 4, 9, 9)

    def run(x=x, weights=weights, shape=(6, 4, 3, 3), stride=(1,), groups=1):
        return convolve.convolve(x, weights, None, shape, stride, (0,), (1,), groups)

    with pytest.raises(TypeError, match=r"x is float32 on the CPU; found torch.float64"):
        run(x.double())
    with pytest.raises(ValueError, match=r"x has 4 channels and 2 dimensions; found shape \[1, 5, 9, 9\]"):
        run(inputs(1, 5, 9, 9))
    with pytest.raises(ValueError, match=r"x has 4 channels and 2 dimensions; found shape \[9\]"):
        run(inputs(9))
    with pytest.raises(ValueError, match="6 output channels do not make 4 groups"):
        run(groups=4)
    with pytest.raises(ValueError, match="3 to 5 dimensions"):
        run(shape=(6, 36))
    with pytest.raises(ValueError, match=r"for the shape \[6, 9, 2, 2\], are expected; found 6 rows of 36 columns"):
        run(inputs(1, 9, 9, 9), shape=(6, 9, 2, 2))
    with pytest.raises(ValueError, match=r"have 2 numbers or one; found \[1, 1, 1\]"):
        run(stride=(1, 1, 1))
    with pytest.raises(TypeError, match="packed weights are uint8"):
        run(weights=weights.int())
    with pytest.raises(ValueError, match="form window"):
        run(weights=torch.from_numpy(packing.pack(tensor)))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (0,), (2, 0, 3)])
def test_embeddings(dtype, shape):
    tensor = shared((101, 37), 0.2, 16)
    indices = torch.from_numpy(np.array(np.random.default_rng(2).integers(0, 101, shape))).to(dtype)
    found = convolve.embed(indices, packed(tensor), tensor.shape)
    assert torch.equal(found, functional.embedding(indices, torch.from_numpy(tensor.numpy())))


def test_indices_of_no_row_are_named():
    tensor = shared((101, 37), 0.2, 16)
    for wrong in (-1, 101):
        with pytest.raises(IndexError, match=f"indices lie within 0 to 100; found .*{wrong}"):
            convolve.embed(torch.tensor([3, wrong]), packed(tensor), tensor.shape)
    with pytest.raises(TypeError, match="int32 or int64; found torch.float32"):
        convolve.embed(torch.tensor([1.0]), packed(tensor), tensor.shape)
    with pytest.raises(ValueError, match=r"for the shape \[101, 36\]"):
        convolve.embed(torch.tensor([1]), packed(tensor), (101, 36))
