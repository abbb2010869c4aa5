"""Models for devices other than the CPU. No test needs such a device."""

import re

import pytest
import torch
from nothing_waits import NothingWaits
from running_models import assert_near, compressed, floats, linear
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

import deepcompression as dc
from deepcompression.nn import build, on_device
from deepcompression.nn.build import Options, assemble
from deepcompression.nn.devices import why_no_gpu
from deepcompression.nn.on_device import form_on, why_refused
from deepcompression.nn.operators import facts_of, header_of, spelled
from deepcompression.nn.registered import convolution_operator, linear_operator, refuse_operator, rows_operator
from deepcompression.nn.weight_source import ModelSource
from deepcompression.packed.convolution import ConvolutionSettings
from deepcompression.packed.packing import FORMS

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
PRODUCTS = ("linear", "transposed", "projections")
DECODED = ("convolution", "embedding")


@pytest.fixture
def with_kernels(monkeypatch):
    """Every GPU has Triton's kernels."""
    monkeypatch.setattr(on_device, "why_torch", lambda device: None)


@pytest.mark.parametrize(
    ("number", "built", "count", "reason"),
    [
        (None, True, 1, None),
        (1, True, 2, None),
        (None, False, 0, "built without CUDA: install"),
        (0, True, 0, "torch finds no GPU: look at"),
        (2, True, 2, "finds 2 GPUs, with the numbers from 0 to 1; found 2"),
    ],
)
def test_a_gpu_that_cannot_be_had_is_named_with_the_remedy(number, built, count, reason):
    found = why_no_gpu(number, built, count)
    assert found is None if reason is None else reason in found


NO_NAME = "is no device of torch: name one such as 'cpu' or 'cuda:1'"
HAS_MPS = torch.backends.mps.is_available()
NOT_HERE = "see that this machine and this build of torch have it, or compute on the CPU"


@pytest.mark.parametrize(
    ("device", "found", "remedy"),
    [
        # a build of torch for GPUs counts them
        ("cuda:9", r"torch (was built without CUDA|finds)", "or compute on the CPU|with the numbers from 0 to"),
        pytest.param("mps", "cannot be used: ", NOT_HERE, marks=pytest.mark.skipif(HAS_MPS, reason="it is here")),
        ("xpu", "cannot be used: ", NOT_HERE),
        ("hpu", "cannot be used: ", NOT_HERE),
        ("privateuseone", "cannot be used: ", NOT_HERE),
        ("meta", "has no memory", "name the device that shall compute"),
        ("toaster", NO_NAME, NO_NAME),
        ("cuda:-1", NO_NAME, NO_NAME),
        (1.5, NO_NAME, NO_NAME),
    ],
)
def test_a_device_that_cannot_be_had_is_refused_in_one_line_with_the_remedy(device, found, remedy):
    with pytest.raises(ValueError, match=f"^device={device!r}.*{found}") as error:
        dc.run(nn.Sequential(linear()), device=device)
    message = str(error.value)
    assert re.search(remedy, message)
    assert len(message) < 200
    assert "\n" not in message


def test_forms_by_use_and_device(monkeypatch):
    monkeypatch.setattr(on_device, "why_torch", lambda device: None if device == GPU else "no Triton")
    assert [form_on(CPU, use) for use in (*PRODUCTS, *DECODED)] == [None, None, None, "tile", "tile"]
    assert [form_on(GPU, use) for use in (*PRODUCTS, *DECODED)] == ["word", "word", "word", "tile", "tile"]
    assert {form_on(torch.device("mps"), use) for use in (*PRODUCTS, *DECODED)} == {"tile"}


def test_forms_that_a_device_computes_from(with_kernels, monkeypatch):
    assert [form for form in FORMS if why_refused(form, GPU) is None] == [f for f in FORMS if f in ("tile", "word")]
    assert not any(why_refused(form, CPU) for form in FORMS)
    monkeypatch.setattr(on_device, "why_torch", lambda device: "no Triton here")
    assert why_refused("tile", GPU) is None
    assert "no Triton here" in why_refused("word", GPU)


def test_a_model_for_the_cpu_is_the_same_with_its_name():
    model, x = nn.Sequential(linear()), floats(3, 80)
    assert torch.equal(dc.run(model, device="cpu")(x), dc.run(model)(x))


def networks():
    return compressed(nn.Sequential(nn.Linear(80, 96), nn.LSTM(96, 64, batch_first=True)))


def test_a_model_for_a_gpu_is_packed_on_the_cpu_and_computes_there_too(with_kernels):
    model, x = networks(), floats(2, 3, 80)
    options = Options("float32", 1, (), (), GPU)
    small = assemble(model, ModelSource(model), options)
    rows = [row for row in dc.explain(small).rows if row.packed]
    assert {row.form for row in rows} == {"word"}
    assert not any(tensor.is_cuda for tensor in (*small.parameters(), *small.buffers()))
    assert_near(small(x)[0], model(x)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_compilers_see_shapes_and_dtypes_of_what_operators_give(dtype):
    """On the device meta, which torch computes without its compiler: importing that takes seconds."""
    layer = dc.run(compressed(nn.Sequential(nn.Linear(80, 96)))).get_submodule("0")
    convolution = dc.run(compressed(nn.Sequential(nn.Conv2d(16, 32, 3)))).get_submodule("0")
    packed, bias = layer.weight.packed.to("meta"), layer.bias.to("meta")
    x = torch.empty(2, 3, 80, dtype=dtype, device="meta")
    y = linear_operator(x, packed, bias, layer.weight.facts, "float32", "a")
    assert (y.is_meta, y.shape, y.dtype) == (True, (2, 3, 96), dtype)
    packed, facts, shape = convolution.weight.packed.to("meta"), convolution.weight.facts, [32, 16, 3, 3]
    x = torch.empty(2, 16, 9, 9, dtype=dtype, device="meta")
    y = convolution_operator(x, packed, None, facts, shape, *spelled(ConvolutionSettings.of(2)), "b")
    assert (y.is_meta, y.shape, y.dtype) == (True, (2, 32, 7, 7), dtype)
    numbers = torch.empty(5, dtype=torch.int64, device="meta")
    y = rows_operator(numbers, packed, facts, [32, 144], dtype, "c")
    assert (y.is_meta, y.shape, y.dtype) == (True, (5, 144), dtype)


class Whole(nn.Module):
    """Products, a convolution and an embedding, with torch's layers between."""

    def __init__(self):
        super().__init__()
        self.convolve, self.embed = nn.Conv2d(16, 32, 3), nn.Embedding(96, 80)
        self.one, self.two = nn.Linear(32 * 25, 96), nn.Linear(96, 80)

    def forward(self, x, numbers):
        y = torch.relu(self.one(torch.relu(self.convolve(x)).flatten(1)))
        return self.two(y).unsqueeze(1) + self.embed(numbers)


@pytest.fixture
def whole(with_kernels):
    """The model as it is on a GPU, with inputs: shapes and dtypes alone."""
    model, mode = compressed(Whole()), FakeTensorMode()
    small = assemble(model, ModelSource(model), Options("float32", 1, (), (), GPU, prefer="memory"))
    assert [row.form for row in dc.explain(small).rows] == ["tile", "tile", "word", "word"]

    def there(tensor):
        return FakeTensor(mode, tensor.to("meta"), GPU)

    on_gpu = small._apply(there), there(torch.zeros(3, 16, 7, 7)), there(torch.zeros(3, 4, dtype=torch.int64))
    with mode:
        yield on_gpu


RESULT = (GPU, (3, 4, 80), (320, 80, 1), torch.float32)
OPERATORS = {
    "convolution": (GPU, (3, 32, 5, 5), (800, 25, 5, 1), torch.float32),
    "linear": (GPU, (3, 80), (80, 1), torch.float32),
    "rows": RESULT,
}


def facts_of_tensor(y):
    return y.device, tuple(y.shape), y.stride(), y.dtype


def assert_has_the_operators(graph, key):
    found = [(node.target, node.meta.get(key)) for node in graph.nodes if "deepcompression" in str(node.target)]
    assert {target.__name__.split(".")[0]: facts_of_tensor(y) for target, y in found} == OPERATORS


def test_a_whole_model_on_a_gpu_is_compiled_as_one_graph_and_exported(whole):
    small, *inputs = whole
    graphs = []

    def remember(module, example):
        graphs.append(module.graph)
        return module.forward

    with torch.no_grad():
        assert facts_of_tensor(small(*inputs)) == RESULT
        assert facts_of_tensor(torch.compile(small, fullgraph=True, backend=remember)(*inputs)) == RESULT
        exported = torch.export.export(small, tuple(inputs))
    assert_has_the_operators(graphs[0], "example_value")
    assert_has_the_operators(exported.graph, "val")
    assert len(graphs) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_on_a_gpu_gives_the_dtypes_that_it_gives_of_dense_layers(whole, dtype, monkeypatch):
    small, x, numbers = whole
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda kind: {"cuda": dtype}[kind])
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: {"cuda": True}[kind])
    with torch.no_grad():
        for layer in (small.convolve, small.one):
            given = x if layer is small.convolve else x.new_empty(2, 800)
            assert layer(given).dtype == dtype
        # as of torch's own embedding
        assert small.embed(numbers).dtype == torch.float32


def test_gradients_on_other_devices_are_refused_by_the_operators_of_the_cpu():
    """The device meta shows that a backward is there, and torch that on GPUs it is the one that refuses."""
    small = dc.run(compressed(Whole()), prefer="memory").to("meta")
    for name, shape in (("convolve", (3, 16, 7, 7)), ("one", (2, 800))):
        layer = small.get_submodule(name)
        assert layer(torch.zeros(shape, device="meta", requires_grad=True)).grad_fn is not None
    assert torch._C._dispatch_has_computed_kernel_for_dispatch_key("deepcompression::refuse_gradient", "CUDA")
    with pytest.raises(RuntimeError, match="inference only: a layer is computed from packed weights"):
        refuse_operator(torch.zeros(1), [1], "a layer")


def test_results_on_a_device_lie_in_memory_as_compilers_are_told(monkeypatch):
    """By torch's operations, from inputs that lie in another order; tests/gpu holds the same of kernels."""
    monkeypatch.setattr(on_device, "why_torch", lambda device: "no kernels")
    weight = dc.run(compressed(nn.Sequential(nn.Conv2d(16, 32, 3)))).get_submodule("0").weight
    facts = header_of(weight.facts)
    assert on_device.product_on(floats(144, 3, 2).permute(2, 1, 0), weight.packed, facts, None).is_contiguous()
    assert on_device.rows_on(torch.arange(8)[::2], weight.packed, facts, torch.float16).is_contiguous()


def test_facts_are_numbers_whatever_the_default_device(monkeypatch):
    header = dc.run(nn.Sequential(linear())).get_submodule("0").weight.header
    with torch.device("meta"):
        assert facts_of(header) == facts_of(header)


def test_nothing_in_a_call_on_a_device_waits_for_it(monkeypatch):
    """By torch's operations; tests/gpu holds the same of kernels."""
    monkeypatch.setattr(on_device, "why_torch", lambda device: "no kernels")
    shape, x = (32, 16, 3, 3), floats(2, 16, 9, 9)
    weight = dc.run(compressed(nn.Sequential(nn.Conv2d(16, 32, 3)))).get_submodule("0").weight
    with NothingWaits():
        facts = header_of(weight.facts)
        y = on_device.product_on(floats(3, 144), weight.packed, facts, floats(32))
        rows = on_device.rows_on(torch.arange(4), weight.packed, facts, torch.float16)
        z = on_device.convolution_on(x, weight.packed, facts, None, shape, ConvolutionSettings.of(2))
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            y.sum().item()
        with pytest.raises(AssertionError, match="index by a mask"):
            y[y > 0]
    assert (y.shape, rows.shape, z.shape) == ((3, 32), (4, 144), (2, 32, 7, 7))


@pytest.mark.parametrize(
    ("use", "density", "batch", "why"),
    [
        ("linear", 0.5, 1, None),
        ("linear", 0.5, None, None),
        ("transposed", 0.1, on_device.FEW, None),
        ("linear", 0.6, 1, "above 50 %, dense products are faster on cuda"),
        ("linear", 0.1, on_device.FEW + 1, "each call on cuda may decode its rows; found 17"),
        ("convolution", 0.1, 1, "each call on cuda would decode its rows"),
        ("embedding", 0.1, 1, "each call on cuda would decode its rows"),
    ],
)
def test_what_pays_on_a_gpu(use, density, batch, why, with_kernels):
    found = on_device.why_dense_on(GPU, use, density, batch)
    assert found is None if why is None else why in found


def test_without_kernels_nothing_pays(monkeypatch):
    monkeypatch.setattr(on_device, "why_torch", lambda device: "no kernels")
    assert "would decode its rows" in on_device.why_dense_on(GPU, "linear", 0.1, 1)


def forms_on_gpu(model, **options):
    small = assemble(model, ModelSource(model), Options("float32", 1, (), (), GPU, **options))
    return {row.names[0]: (row.form, row.why) for row in dc.explain(small).rows}


def test_memory_is_preferred_where_it_is_asked_for(with_kernels):
    model = compressed(nn.Sequential(nn.Linear(80, 96), nn.Embedding(96, 80)))
    assert [form for form, _ in forms_on_gpu(model).values()] == ["word", "dense"]
    assert [form for form, _ in forms_on_gpu(model, prefer="memory").values()] == ["word", "tile"]


def test_a_weight_of_too_many_survivors_stays_dense(with_kernels, monkeypatch):
    monkeypatch.setattr(build, "TOO_MANY", 100)
    form, why = forms_on_gpu(nn.Sequential(linear()), prefer="memory")["0.weight"]
    assert form == "dense"
    assert "768 weights survive: kernels on cuda number fewer than 2^31" in why
