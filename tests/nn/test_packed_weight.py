"""Packed weights in the place of parameters, as modules and users' code see them."""

import copy
import io

import numpy as np
import pytest
import torch
from running_models import Named, assert_near, compressed, double, floats, linear
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.func import functional_call
from torch.nn import functional as F

import deepcompression as dc
from deepcompression.nn.packed_weight import PackedWeight, aligned
from deepcompression.packed import packing
from deepcompression.packed.convolution import ConvolutionSettings
from deepcompression.tensors.from_torch import from_torch
from deepcompression.tensors.tensor import CompressedTensor

WEIGHT = "fc.weight"


@pytest.fixture
def dense():
    return Named()


@pytest.fixture
def small(dense):
    return dc.run(dense)


def as_tile(weight, dense):
    """The weight in the form that other devices compute from."""
    tensor = CompressedTensor.from_dense(from_torch(WEIGHT, dense.detach()))
    packed = torch.from_numpy(packing.pack(tensor, form="tile"))
    return PackedWeight(WEIGHT, packed, tuple(weight.shape), weight.dtype, weight.activations)


SHAPES = [(80,), (1, 80), (7, 80), (2, 3, 80), (2, 1, 3, 80), (0, 80), (2, 0, 80)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("way", ["core", "tile"])
@pytest.mark.parametrize("grad", [False, True])
def test_any_leading_shape_gives_what_the_dense_layer_gives(dense, small, shape, way, grad):
    x = floats(*shape)
    if way == "tile":
        small.fc.weight = as_tile(small.fc.weight, dense.fc.weight)
    with torch.set_grad_enabled(grad):
        found = small(x)
    assert found.requires_grad == grad
    assert_near(found.detach(), double(dense)(x.double()).detach())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_floats_are_computed_in_float32_and_given_back(dense, small, dtype):
    x = floats(4, 80).to(dtype)
    with torch.no_grad():
        found = small(x)
        expected = small(x.float()).to(dtype)
    assert found.dtype == dtype
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.t().contiguous().t(),
        lambda x: torch.cat([x, x], 1)[:, ::2],
        lambda x: x[:1].expand(5, -1),
        lambda x: x.flip(0)[::2],
        lambda x: nn.Parameter(x),
    ],
)
def test_inputs_need_not_be_contiguous(dense, small, change):
    x = change(floats(5, 80))
    assert_near(small(x).detach(), double(dense)(x.double()).detach())


@pytest.mark.parametrize("x", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
@pytest.mark.parametrize("way", ["core", "tile"])
def test_infinities_and_nans_reach_the_output_as_through_a_dense_layer(dense, activations, x, way):
    small = dc.run(dense, activations=activations)
    if way == "tile":
        small.fc.weight = as_tile(small.fc.weight, dense.fc.weight)
    batch = floats(3, 80)
    batch[1, 5] = x
    with torch.no_grad():
        found = small(batch)
        expected = dense(batch)
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found.isinf(), expected.isinf())


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(2, 79), ValueError, "fc.weight: x has 80 columns"),
        (torch.tensor(1.0), ValueError, "fc.weight: x has 80 columns"),
        (torch.zeros(2, 80, dtype=torch.float64), TypeError, "fc.weight.*float64"),
        (torch.zeros(2, 80, dtype=torch.int64), TypeError, "fc.weight.*int64"),
        (torch.zeros(2, 80, device="meta"), ValueError, "fc.weight: x is on meta"),
        (np.zeros((2, 80), np.float32), TypeError, "fc.weight: x is a tensor"),
        (torch.zeros(2, 80).to_sparse(), TypeError, "fc.weight: x is dense.*torch.sparse_coo: call to_dense"),
        (
            torch.nested.nested_tensor([torch.zeros(2, 80)], layout=torch.jagged),
            TypeError,
            "found a nested tensor: call to_padded_tensor",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused_with_the_layers_name(small, x, error, message):
    with pytest.raises(error, match=message):
        small.fc.weight.linear(x)
    if isinstance(x, torch.Tensor):
        with pytest.raises(error, match=message):
            small(x)


def test_a_bias_that_does_not_fit_is_refused(small):
    with pytest.raises(ValueError, match=r"fc\.weight: the bias has shape"):
        F.linear(torch.zeros(2, 80), small.fc.weight, torch.zeros(3))


def test_it_has_the_attributes_of_weights_that_code_reads(dense, small):
    weight, expected = small.fc.weight, dense.fc.weight
    for name in ("shape", "dtype", "device", "ndim", "is_cuda", "is_sparse"):
        assert getattr(weight, name) == getattr(expected, name), name
    for method in ("size", "dim", "numel", "is_floating_point"):
        assert getattr(weight, method)() == getattr(expected, method)()
    assert weight.size(1) == 80
    assert not weight.requires_grad
    assert "96, 80" in repr(small)


@pytest.mark.parametrize(
    "use",
    [
        lambda w: torch.zeros(2, 96) @ w,
        lambda w: torch.matmul(torch.zeros(2, 96), w),
        lambda w: torch.cat([w, w]),
        lambda w: F.bilinear(torch.zeros(2, 3), torch.zeros(2, 4), w),
        lambda w: F.linear(w, torch.zeros(3, 80)),
    ],
)
def test_other_functions_are_refused_with_the_layers_name_and_a_remedy(small, use):
    with pytest.raises(TypeError, match=r"fc\.weight is packed.*dense=\['fc.weight'\]"):
        use(small.fc.weight)


@pytest.mark.parametrize("name", ["data", "H", "detach", "norm"])
def test_attributes_of_tensors_that_it_lacks_are_refused_with_a_remedy(small, name):
    with pytest.raises(AttributeError, match=rf"fc\.weight is packed, and has no attribute '{name}'.*dense="):
        getattr(small.fc.weight, name)


def test_its_data_cannot_be_replaced_in_silence(small):
    with pytest.raises(AttributeError, match=r"fc\.weight is packed, and its data cannot be replaced.*dense="):
        small.fc.weight.data = torch.zeros(96, 80)


def test_the_number_of_threads_does_not_change_the_result(small):
    x = floats(64, 80)
    before = torch.get_num_threads()
    with torch.no_grad():
        try:
            results = []
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                results.append(small(x))
        finally:
            torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("convert", [lambda m: m.half(), lambda m: m.bfloat16(), lambda m: m.type(torch.bfloat16)])
def test_conversion_changes_dense_tensors_and_no_packed_bytes(small, convert):
    before = small.fc.weight.packed.clone()
    x = floats(2, 80)
    expected = small(x).detach()
    other = convert(copy.deepcopy(small))
    assert torch.equal(other.fc.weight.packed, before)
    assert other.fc.weight.dtype == other.fc.bias.dtype != torch.float32
    found = other(x.to(other.fc.weight.dtype)).detach()
    assert found.dtype == other.fc.bias.dtype
    assert_near(found, expected, 2e-2)


def test_copies_and_pickles_compute_the_same(small):
    x = floats(2, 80)
    file = io.BytesIO()
    torch.save(small, file)
    file.seek(0)
    for other in (copy.deepcopy(small), torch.load(file, weights_only=False)):
        assert torch.equal(other(x), small(x))
        assert other.fc.weight.packed.data_ptr() != small.fc.weight.packed.data_ptr()


def test_bytes_at_odd_addresses_are_copied(small):
    packed = small.fc.weight.packed
    odd = torch.zeros(len(packed) + 64, dtype=torch.uint8)
    at = (-odd.data_ptr()) % 64 + 1
    odd[at : at + len(packed)] = packed
    view = odd[at : at + len(packed)]
    assert aligned(view).data_ptr() % 64 == 0
    assert aligned(packed) is packed
    weight = PackedWeight(WEIGHT, view, (96, 80), torch.float32)
    assert weight.packed.data_ptr() % 64 == 0


@pytest.mark.parametrize("spoil", ["magic", "length", "shape", "dtype"])
def test_bytes_that_are_no_packed_weight_of_the_shape_are_refused(small, spoil):
    packed, shape = small.fc.weight.packed.clone(), (96, 80)
    if spoil == "magic":
        packed[0] = 0
    elif spoil == "length":
        packed = packed[:-64]
    elif spoil == "dtype":
        packed = packed.float()
    else:
        shape = (80, 96)
    with pytest.raises(ValueError, match=r"^fc\.weight: "):
        PackedWeight(WEIGHT, packed, shape, torch.float32)


def to_cuda(tensor):
    """A tensor without memory that acts as one on a device that this machine may lack."""
    return FakeTensor(FakeTensorMode(), tensor.to("meta"), torch.device("cuda", 0))


def test_another_device_is_refused_with_the_remedy_and_changes_nothing(small):
    x, before = floats(3, 80), small(floats(3, 80))
    with pytest.raises(
        ValueError, match=r"fc\.weight is packed in the form \w+, .*cuda:0: call dc\.run\(\.\.\., device='cuda:0'\)"
    ):
        small.fc.weight._apply(to_cuda)
    assert small.fc.weight.device.type == "cpu"
    assert torch.equal(small(x), before)


def test_the_form_tile_goes_to_any_device(dense, small):
    weight = as_tile(small.fc.weight, dense.fc.weight)
    assert weight._apply(to_cuda).device.type == "cuda"


def test_every_form_goes_to_the_device_meta(small):
    shapes = small.to("meta")(torch.zeros(3, 80, device="meta"))
    assert (shapes.device.type, shapes.shape) == ("meta", (3, 96))


def test_results_own_their_memory(small):
    with torch.no_grad():
        y = small(floats(3, 80))
    expected = y.clone()
    view = y[1:]
    del y
    others = [small(floats(3, 80) + 1) for _ in range(8)]
    assert torch.equal(view, expected[1:])
    assert all(other.data_ptr() % 64 == 0 for other in others)


@pytest.mark.parametrize("shape", [(80, 96), (960, 80), (96, 96)])
def test_bytes_of_another_shape_in_the_place_of_those_that_were_checked_are_refused(dense, shape):
    small, other = dc.run(dense), dc.run(linear(*shape))
    with pytest.raises(ValueError, match=f"fc.weight: it is 96 x 80; the packed weight is {shape[0]} x {shape[1]}"):
        functional_call(small, {"fc.weight.packed": other.weight.packed}, (floats(3, 80),))


@pytest.fixture
def convolution():
    """A packed convolution that decodes its weights once and keeps them."""
    weight = floats(64, 16, 3, 3)
    weight[:, ::2] = 0
    tensor = CompressedTensor.from_dense(from_torch(WEIGHT, torch.round(weight * 4) / 4))
    packed = PackedWeight(WEIGHT, torch.from_numpy(packing.pack(tensor, form="tile")), (64, 16, 3, 3), torch.float32)
    packed.keeps_dense = True
    return packed


def test_a_parameter_in_the_place_of_a_packed_weight_is_what_the_layer_computes_with():
    for layer, x in ((linear(), floats(3, 80)), (nn.Conv2d(16, 64, 3), floats(2, 16, 7, 7))):
        small = dc.run(nn.Sequential(compressed(layer)))
        assert not isinstance(small[0].weight, nn.Parameter)
        other = nn.Parameter(floats(*layer.weight.shape, seed=1))
        small[0].weight = layer.weight = other
        assert torch.equal(small(x), layer(x))


def test_kept_weights_follow_bytes_that_are_written_over(convolution):
    before = convolution._decoded()
    assert convolution._decoded() is before
    convolution.packed.copy_(convolution.packed.clone())
    assert convolution._decoded() is not before


def test_shapes_without_end_are_not_remembered(convolution):
    for length in range(3, 203):
        convolution._is_slow(torch.empty(1, 16, 3, length, device="meta"), ConvolutionSettings.of(2))
    assert 0 < len(convolution.wants_dense) <= 64
