"""Running models are ordinary modules: compiled, exported, saved and loaded."""

import copy
import io
import subprocess
import sys

import pytest
import torch
from running_models import assert_near, compressed, floats, linear, mlp
from torch import nn

import deepcompression as dc
from deepcompression.nn.operators import facts_of, header_of, settings_of, spelled
from deepcompression.packed import packing
from deepcompression.packed.convolution import ConvolutionSettings
from deepcompression.packed.packing import FORMS, Header


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Conv1d(32, 64, 3, padding="same")
        self.two = nn.Conv2d(8, 64, 3, stride=2, padding=1)
        self.three = nn.Conv3d(16, 32, 3, padding=(1, 0, 1), groups=2)

    def forward(self, x):
        y = self.one(x)
        z = self.two(y.view(-1, 8, 8, y.shape[2]))
        return y, z, self.three(torch.relu(z.reshape(len(x), 16, 4, 4, -1))), self.one(x[0])


class Embeddings(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(100, 64)
        self.bag = nn.EmbeddingBag(100, 64, mode="mean", padding_idx=2)

    def forward(self, x):
        return self.table(x) + self.bag(x).unsqueeze(1)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(64, 4, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x)


def make(model):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return compressed(model()).eval()


KINDS = {
    "linear": (mlp, lambda: floats(3, 80)),
    "convolutions": (lambda: make(Convolutions), lambda: floats(2, 32, 12)),
    "embeddings": (lambda: make(Embeddings), lambda: torch.tensor([[1, 2, 99], [0, 7, 7]])),
    "attention": (lambda: make(Attention), lambda: floats(2, 5, 64)),
    "lstm": (lambda: make(lambda: nn.LSTM(64, 64)), lambda: floats(4, 2, 64)),
    "gru": (lambda: make(lambda: nn.GRU(64, 64, bidirectional=True)), lambda: floats(4, 2, 64)),
    "transformer": (
        lambda: make(lambda: nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)),
        lambda: floats(2, 5, 64),
    ),
}


def tensors(output):
    """All tensors of an output, in their order."""
    if isinstance(output, torch.Tensor):
        return [output.detach()]
    return [tensor for part in output if part is not None for tensor in tensors(part)]


def assert_equal(found, expected):
    assert len(tensors(found)) == len(tensors(expected))
    for one, other in zip(tensors(found), tensors(expected), strict=True):
        assert_near(one, other, 1e-5)


@pytest.fixture(params=KINDS)
def case(request):
    model, x = KINDS[request.param]
    model = model()
    small = dc.run(model)
    assert any(row.packed for row in dc.explain(small).rows)
    return small, x(), model


def test_every_kind_computes_what_the_dense_model_computes(case):
    small, x, model = case
    assert_equal(small(x), model(x))


@pytest.mark.parametrize("grad", [False, True])
def test_it_is_compiled_as_one_graph(case, grad):
    small, x, _ = case
    torch._dynamo.reset()
    # torch takes its own recurrent modules out of graphs
    with torch.set_grad_enabled(grad), torch._dynamo.config.patch(allow_rnn=True):
        assert_equal(torch.compile(small, backend="aot_eager", fullgraph=True)(x), small(x))


def test_it_is_exported_saved_and_loaded(case, tmp_path):
    small, x, _ = case
    with torch.no_grad():
        program = torch.export.export(small, (x,))
        assert any(str(node.target).startswith("deepcompression") for node in program.graph.nodes)
        torch.export.save(program, tmp_path / "model.pt2")
        loaded = torch.export.load(tmp_path / "model.pt2")
        assert_equal(loaded.module()(x), small(x))


def test_an_exported_batch_may_be_of_any_size():
    small = dc.run(mlp())
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(small, (floats(3, 80),), dynamic_shapes=(batch,))
    for size in (1, 7):
        x = floats(size, 80)
        assert_equal(program.module()(x), small(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_code_of_the_default_compiler():
    small = dc.run(make(Convolutions))
    x = floats(2, 32, 12)
    torch._dynamo.reset()
    with torch.no_grad():
        assert_equal(torch.compile(small, fullgraph=True)(x), small(x))


def test_backward_of_compiled_models_is_refused():
    torch._dynamo.reset()
    small = torch.compile(dc.run(mlp()), backend="aot_eager", fullgraph=True)
    output = small(floats(2, 80)).sum()
    with pytest.raises(RuntimeError, match=r"inference only: \d\.weight"):
        output.backward()


def test_backward_is_refused_for_every_kind(case):
    small, x, _ = case
    if x.is_floating_point():
        x.requires_grad_(True)
        with pytest.raises(RuntimeError, match="inference only"):
            sum(tensor.sum() for tensor in _with_graph(small(x))).backward()


def _with_graph(output):
    if isinstance(output, torch.Tensor):
        return [output] if output.requires_grad else []
    return [tensor for part in output if part is not None for tensor in _with_graph(part)]


def test_a_state_is_saved_and_loaded_into_another(case):
    small, x, model = case
    file = io.BytesIO()
    torch.save(small.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert any(name.endswith("weight.packed") or ".packed" in name for name in state)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            # fewer survivors: another number of bytes
            parameter.view(-1)[: parameter.numel() // 2] = 0
    other = dc.run(other)
    assert other.load_state_dict(state).missing_keys == []
    assert_equal(other(x), small(x))


def test_copies_and_pickles_of_every_kind(case, tmp_path):
    small, x, _ = case
    torch.save(small, tmp_path / "small.pt")
    for mmap in (False, True):
        assert_equal(torch.load(tmp_path / "small.pt", weights_only=False, mmap=mmap)(x), small(x))
    assert_equal(copy.deepcopy(small)(x), small(x))


def test_every_kind_is_computed_from_the_form_of_other_devices(case, monkeypatch):
    small, x, model = case
    pack = packing.pack
    monkeypatch.setattr(packing, "pack", lambda tensor, *others, form, threads: pack(tensor, form="tile"))
    other = dc.run(model)
    assert {row.form for row in dc.explain(other).rows if row.packed} == {"tile"}
    assert_equal(other(x), small(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_kind_computes_in_narrow_floats(case, dtype):
    small, x, _ = case
    narrow = copy.deepcopy(small).to(dtype)
    with torch.no_grad():
        found = tensors(narrow(x.to(dtype) if x.is_floating_point() else x))
        for one, other in zip(found, tensors(small(x)), strict=True):
            assert one.dtype == dtype
            assert_near(one, other, 5e-2)


@pytest.mark.parametrize("strict", [True, False])
def test_a_dense_model_refuses_the_state_of_a_running_one(strict):
    model = compressed(nn.Sequential(nn.Linear(80, 96), nn.MultiheadAttention(96, 4)))
    small = dc.run(model)
    again = dc.run(model)
    assert str(again.load_state_dict(small.state_dict())) == "<All keys matched successfully>"
    with pytest.raises(RuntimeError, match=r"size mismatch for 0\.weight(.|\n)*size mismatch for 1\.in_proj_weight"):
        model.load_state_dict(small.state_dict(), strict=strict)


def test_a_state_that_does_not_fit_names_the_layer():
    small = dc.run(nn.Sequential(linear()))
    state = small.state_dict()
    other = dc.run(nn.Sequential(linear(128, 64))).state_dict()
    for bad in (other["0.weight.packed"], state["0.weight.packed"][:-64], torch.zeros(3), "text"):
        with pytest.raises(RuntimeError, match=r"0\.weight: "):
            small.load_state_dict(state | {"0.weight.packed": bad})
    with pytest.raises(RuntimeError, match=r"Missing key.*0\.weight\.packed"):
        small.load_state_dict(nn.Sequential(linear()).state_dict())
    with pytest.raises(RuntimeError, match=r"Unexpected key.*0\.weight\.more"):
        small.load_state_dict(state | {"0.weight.more": torch.zeros(1)})


def test_a_state_may_be_assigned():
    small, other = dc.run(linear()), dc.run(linear())
    state = copy.deepcopy(small.state_dict())
    other.load_state_dict(state, assign=True)
    assert other.weight.packed.data_ptr() == state["weight.packed"].data_ptr()


@pytest.mark.parametrize("form", FORMS)
def test_facts_are_the_header(form):
    header = Header(form, 5, 16, 3, 10, 1 << 40, 7, 3, 2, 1, 2.0**-100, -0.0)
    assert header_of(facts_of(header)) == header


@pytest.mark.parametrize("padding", ["same", "valid", (0, 1)])
def test_spelled_settings_are_the_settings(padding):
    settings = ConvolutionSettings((1, 2), padding, (3, 1), 4)
    assert settings_of(2, spelled(settings)) == settings
    assert settings_of(2, ([5], [0], "", [1], 1)) == ConvolutionSettings((5, 5), (0, 0), (1, 1), 1)


LOADING = """
import sys, torch
import deepcompression.nn.registered
program = torch.export.load(sys.argv[1])
print(float(program.module()(torch.ones(1, 80)).sum()))
"""


def test_an_exported_model_is_run_by_another_process(tmp_path):
    small = dc.run(mlp())
    torch.export.save(torch.export.export(small, (floats(1, 80),)), tmp_path / "model.pt2")
    done = subprocess.run(
        [sys.executable, "-c", LOADING, tmp_path / "model.pt2"], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == pytest.approx(float(small(torch.ones(1, 80)).detach().sum()), rel=1e-5)
