"""Convolutions and embeddings from packed weights give what torch gives with dense weights."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from deepcompression import _core
from deepcompression.nn import convolve
from deepcompression.packed import packing
from deepcompression.packed.convolution import ConvolutionSettings
from deepcompression.packed.torch_reference import CONVOLUTIONS
from deepcompression.tensors.tensor import CompressedTensor

# torch warns of its own padding
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")

PADDED = ConvolutionSettings.of(2, padding=1)


@pytest.fixture(params=["sparse", "dense"], autouse=True)
def way(request, monkeypatch):
    """Forces each way. Only `test_sparse_kernels_where_they_pay` asks which way pays."""
    monkeypatch.setattr(convolve, "_LEAST_ROWS", 1)
    monkeypatch.setattr(convolve, "_MOST_WORK", math.inf if request.param == "sparse" else -1)
    return request.param


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
    settings = ConvolutionSettings.of(weight.dim() - 2, stride, padding, dilation, groups)
    exact = dense(x.double(), weight.double(), None if bias is None else bias.double(), *settings)
    found = convolve.convolve(x, packed(tensor), bias, tensor.shape, settings)
    assert found.shape == exact.shape
    assert found.dtype == torch.float32
    if exact.numel():
        own = (dense(x, weight, bias, *settings) - exact).abs().max()
        assert (found - exact).abs().max() <= max(1e-6 * exact.abs().max(), 2 * own)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 3, "valid"])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_two_dimensions(instruction_set, stride, padding, dilation, groups):
    tensor = shared((10, 6 // groups, 3, 3))
    assert_same(tensor, inputs(2, 6, 13, 11), inputs(10), stride, padding, dilation, groups)


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


@pytest.mark.parametrize("width", [1, 15, 16, 17, 32, 447, 448, 449, 1000])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 5)])
def test_outputs_of_every_width(width, kernel):
    tensor = shared((5, 3, *kernel))
    assert_same(tensor, inputs(2, 3, 9, width + kernel[1] - 1), inputs(5))
    assert_same(tensor, inputs(1, 3, 60, width + kernel[1] - 1), None, padding=(kernel[0] - 1, 0))


def test_many_rows_channels_and_images():
    assert_same(shared((300, 150, 3, 3), 0.1), inputs(3, 150, 12, 33), inputs(300), padding=(1,))
    assert_same(shared((130, 9, 3, 3), 0.5, 16), inputs(3, 18, 30, 30), inputs(130), padding=(4,), groups=2)
    assert_same(shared((3, 2, 40, 40), 0.3), inputs(1, 2, 50, 90), None, padding=(20, 3))
    assert_same(shared((3, 2, 3, 3), 0.3), inputs(1, 2, 50, 90), None, padding=(20,), dilation=(19, 23))


@pytest.mark.skipif(not _core.has_sparse_convolution(), reason="this CPU has no sparse kernel")
def test_sparse_kernels_where_they_pay(monkeypatch):
    monkeypatch.undo()
    made = []
    kernel = _core.convolve_sparse
    monkeypatch.setattr(_core, "convolve_sparse", lambda *given: made.append(given) or kernel(*given))

    def sparse(shape, density, width, stride=(1,), groups=1):
        made.clear()
        tensor = shared(shape, density)
        assert_same(tensor, inputs(1, shape[1] * groups, width, width), None, stride, (1,), (1,), groups)
        return bool(made)

    assert sparse((64, 3, 3, 3), 0.58, 32)
    assert sparse((64, 16, 3, 3), 0.35, 13)
    assert not sparse((64, 16, 3, 3), 0.35, 7)
    assert not sparse((64, 16, 3, 3), 0.84, 32)
    assert not sparse((64, 16, 3, 3), 0.35, 32, (2,))
    assert not sparse((64, 1, 3, 3), 0.35, 32, groups=64)
    _core.force_instruction_set("portable")
    try:
        assert not sparse((64, 3, 3, 3), 0.58, 32)
    finally:
        _core.force_instruction_set("")


def test_empty_rows_between_others():
    tensor = CompressedTensor((40, 20, 3, 3), np.arange(180, 360), np.ones(1, np.float32), np.zeros(180, np.uint8))
    assert_same(tensor, inputs(1, 20, 16, 16), inputs(40), padding=(1,))


def test_no_batch_no_elements_and_strided_inputs():
    tensor = shared((6, 4, 3, 3))
    x = inputs(4, 9, 9)
    found = convolve.convolve(x, packed(tensor), None, tensor.shape, PADDED)
    expected = functional.conv2d(x, torch.from_numpy(tensor.numpy()), None, 1, 1)
    torch.testing.assert_close(found, expected)
    assert_same(tensor, inputs(0, 4, 9, 9), None)
    assert_same(tensor, inputs(2, 9, 4, 9).transpose(1, 2), inputs(6))
    assert_same(tensor, inputs(2, 4, 9, 9).to(memory_format=torch.channels_last), inputs(6))


@pytest.mark.parametrize("scratch", [1, 4 * 54 * 5, 4 * 54 * 20, 4 * 54 * 33])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_small_scratch_takes_the_weights_piece_by_piece(scratch, groups, way, monkeypatch):
    monkeypatch.setattr(convolve, "SCRATCH_BYTES", scratch)
    monkeypatch.setattr(convolve, "_own", type("Own", (), {})())
    tensor = shared((44, 6, 3, 3))
    assert_same(tensor, inputs(2, 6 * groups, 10, 10), inputs(44), padding=(1,), groups=groups)
    if way == "dense":
        assert convolve._own.scratch.numel() * 4 <= max(scratch, 4 * 54)


def test_threads_are_torchs_and_do_not_change_the_result(way):
    before, tensor, x = torch.get_num_threads(), shared((200, 64, 3, 3)), inputs(2, 64, 20, 20)
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert_same(tensor, x, inputs(200))
            found.append(convolve.convolve(x, packed(tensor), None, tensor.shape, PADDED))
    finally:
        torch.set_num_threads(before)
    if way == "sparse" and _core.has_sparse_convolution():
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])


def test_infinities_and_nans_go_where_dense_weights_take_them():
    tensor, x = shared((6, 4, 3, 3)), inputs(1, 4, 9, 9)
    x[0, 1, 4, 4], x[0, 2, 8, 0] = math.inf, math.nan
    found = convolve.convolve(x, packed(tensor), None, tensor.shape, PADDED)
    expected = functional.conv2d(x, torch.from_numpy(tensor.numpy()), None, 1, 1)
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found.isinf(), expected.isinf())


def test_the_result_has_no_gradient():
    tensor = shared((6, 4, 3, 3))
    x = inputs(1, 4, 9, 9).requires_grad_()
    assert not convolve.convolve(x, packed(tensor), None, tensor.shape, PADDED).requires_grad


def test_mistakes_are_named():
    tensor = shared((6, 4, 3, 3))
    weights, x = packed(tensor), inputs(1, 4, 9, 9)

    def run(x=x, weights=weights, shape=(6, 4, 3, 3), groups=1):
        return convolve.convolve(x, weights, None, shape, ConvolutionSettings.of(2, groups=groups))

    with pytest.raises(TypeError, match=r"x is float32 on the CPU; found torch.float64"):
        run(x.double())
    with pytest.raises(ValueError, match=r"x has 4 channels and 2 dimensions; found shape \[1, 5, 9, 9\]"):
        run(inputs(1, 5, 9, 9))
    with pytest.raises(ValueError, match=r"x has 4 channels and 2 dimensions; found shape \[9\]"):
        run(inputs(9))
    with pytest.raises(ValueError, match="groups=4 does not divide the 6 output channels"):
        run(groups=4)
    with pytest.raises(ValueError, match="3 to 5 dimensions"):
        run(shape=(6, 36))
    with pytest.raises(ValueError, match=r"for the shape \[6, 10, 2, 2\]; found 6 rows of 36 columns"):
        run(inputs(1, 10, 9, 9), shape=(6, 10, 2, 2))
    with pytest.raises(TypeError, match="packed weights are uint8"):
        run(weights=weights.int())
    with pytest.raises(ValueError, match="in the form window"):
        run(weights=torch.from_numpy(packing.pack(tensor)))


def test_spoilt_weights_are_refused_or_stay_within_bounds():
    tensor, x = shared((9, 7, 3, 3), 0.4, 30), inputs(1, 7, 9, 17)
    good = packing.pack(tensor, form="tile")
    rng = np.random.default_rng(3)
    for at in range(good.size):
        spoilt = good.copy()
        spoilt[at] ^= 1 << rng.integers(8) if at % 2 else 255
        try:
            convolve.convolve(x, torch.from_numpy(spoilt), None, tensor.shape, PADDED)
        except ValueError:
            assert at < 64, "only headers are refused"
    for size in range(0, good.size, 7):
        with pytest.raises(ValueError, match=r"packed weights"):
            convolve.convolve(x, torch.from_numpy(good[:size].copy()), None, tensor.shape, PADDED)


@pytest.mark.skipif(not _core.has_sparse_convolution(), reason="this CPU has no sparse kernel")
def test_the_core_refuses_shapes_that_do_not_fit():
    weights, x, y = packed(shared((6, 4, 3, 3))), inputs(1, 4, 9, 9), torch.empty(1, 6, 7, 7)
    good = {
        "batch": 1,
        "groups": 1,
        "channels": 4,
        "height": 9,
        "width": 9,
        "kernel_height": 3,
        "kernel_width": 3,
        "padding_top": 0,
        "padding_left": 0,
        "dilation_height": 1,
        "dilation_width": 1,
        "out_height": 7,
        "out_width": 7,
    }

    def run(**other):
        shape = _core.ConvolutionShape(**good | other)
        return _core.convolve_sparse(weights.data_ptr(), weights.nbytes, shape, x.data_ptr(), 0, y.data_ptr(), 1)

    assert run()
    for name, number in [
        ("batch", 0),
        ("groups", 0),
        ("groups", 4),
        ("channels", 5),
        ("height", 0),
        ("kernel_height", 2),
        ("padding_top", 2**50),
        ("dilation_width", 2**41),
        ("out_height", 2**39),
        ("out_width", 0),
    ]:
        with pytest.raises(ValueError, match="do not fit together"):
            run(**{name: number})
    with pytest.raises(ValueError, match="too large a kernel"):
        run(dilation_height=2**20)


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
    with pytest.raises(TypeError, match=r"int32 or int64; found torch.float32"):
        convolve.embed(torch.tensor([1.0]), packed(tensor), tensor.shape)
    with pytest.raises(ValueError, match=r"for the shape \[101, 36\]"):
        convolve.embed(torch.tensor([1]), packed(tensor), (101, 36))
