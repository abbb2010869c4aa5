"""Torch models as calibration sees them: inputs of layers, gains, and unsound inputs."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from models import MODELS, assert_same, example, make, snapshot
from network_outputs import flat
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from deepcompression.calibration.network import Layout, change, metric_of
from deepcompression.calibration.torch_network import TorchNetwork
from deepcompression.sharing.fit import fit_penalty

LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), (9, 6)),
    "sequences": (lambda: nn.Linear(6, 4), (2, 5, 6)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (3, 4, 9)),
    "conv2d": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)), (2, 4, 9, 8)),
    "same": (lambda: nn.Conv2d(2, 3, 4, padding="same"), (2, 2, 7, 6)),
    "depthwise": (lambda: nn.Conv2d(5, 5, 3, padding=1, groups=5, bias=False), (2, 5, 6, 6)),
    "numpy integers": (lambda: nn.Conv2d(2, 3, 3, stride=tuple(np.array([2, 1]))), (2, 2, 7, 6)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2, stride=2), (2, 2, 4, 5, 4)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kind", LAYERS)
def test_moments_explain_outputs(kind):
    """||outputs of an error||^2 is the cost of the error under the second moments, times their count."""
    layer, shape = LAYERS[kind][0](), LAYERS[kind][1]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    network = TorchNetwork(layer, [x, x + 1])
    found = network.moments(["weight"])["weight"]
    error = np.random.default_rng(0).standard_normal(tuple(layer.weight.shape)).astype(np.float32)
    parts = network.roles["weight"].layout.matrices(error).astype(np.float64)
    cost = np.einsum("grc,gcd,grd->", parts, found.second, parts)
    difference = flat(network.outputs({"weight": network.weight("weight") + error})) - flat(network.outputs({}))
    assert cost == pytest.approx(float(np.square(difference.astype(np.float64)).sum()), rel=1e-3)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kind", LAYERS)
def test_gains_are_the_changes_by_random_errors(kind):
    layer, shape = LAYERS[kind][0](), LAYERS[kind][1]
    x = torch.randn(64, *shape[1:], generator=torch.Generator().manual_seed(0))
    network = TorchNetwork(layer, [x])
    gain = network.gains(["weight"])["weight"]
    exact = network.outputs({})
    rng, expected = np.random.default_rng(0), 0.0
    for _ in range(60):
        error = rng.standard_normal(gain.shape).astype(np.float32) * 0.01
        expected += change(network.outputs({"weight": network.weight("weight") + error}), exact) ** 2 / 0.01**2 / 60
    assert float(gain.sum()) == pytest.approx(expected, rel=0.3)


def test_a_weight_that_a_custom_module_passes_to_linear_is_seen():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(3, 6))
            self.shift = nn.Parameter(torch.randn(3))

        def forward(self, x):
            return F.linear(x, self.table, self.shift)

    network = TorchNetwork(Own(), [torch.randn(4, 6)])
    assert network.roles["table"].bias == "shift"
    assert network.moments(["table"])["table"].count == 4


def test_projections_of_attention_are_seen():
    network = TorchNetwork(make("attention"), [example("attention")])
    found = network.moments(network.roles)
    assert set(found) == {"attention.in_proj_weight", "attention.out_proj.weight"}


def moments_of(model, x):
    """The second moments of each layer's inputs, with its bias, by the name of its weight."""
    network = TorchNetwork(model, [x])
    return {name: (network.roles[name], each.second) for name, each in network.moments(network.roles).items()}


def in_one_vector(model):
    vector_to_parameters(parameters_to_vector(model.parameters()).detach().clone(), model.parameters())


def in_one_buffer(model):
    """Parameters with gaps between them, as optimizers that work on a flat buffer keep them."""
    flat, at = torch.zeros(sum(each.numel() + 5 for each in model.parameters()) + 3), 3
    for each in model.parameters():
        view = flat[at : at + each.numel()].view_as(each).copy_(each.detach())
        each.data, at = view, at + each.numel() + 5


@pytest.mark.parametrize("flatten", [in_one_vector, in_one_buffer])
@pytest.mark.parametrize("kind", ["mlp", "conv-net", "attention", "tied"])
def test_parameters_that_share_one_storage_are_seen_as_those_that_do_not(kind, flatten):
    model, flat = make(kind).eval(), make(kind).eval()
    flatten(flat)
    found, expected = moments_of(flat, example(kind)), moments_of(model, example(kind))
    assert found.keys() == expected.keys()
    for name, (role, second) in expected.items():
        assert found[name][0] == role
        assert np.array_equal(found[name][1], second)


class Uses(nn.Module):
    """One square matrix as a layer's weight, and once more as `use` takes it."""

    def __init__(self, use):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.use = use

    def forward(self, x):
        return F.linear(self.layer(x), self.use(self.layer.weight))


def test_a_transposed_use_of_a_weight_is_not_taken_for_the_weight():
    """As in a tied autoencoder, whose matrix may be square."""
    x = torch.randn(9, 6)
    role, second = moments_of(Uses(torch.t), x)["layer.weight"]
    assert role.bias is None
    np.testing.assert_allclose(second[0], (x.T @ x).numpy(), rtol=1e-5)


def test_a_weight_that_is_only_used_transposed_has_the_inputs_of_its_rows():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(6, 3))

        def forward(self, x):
            return F.linear(x, self.table.t())

    x = torch.randn(9, 6)
    role, second = moments_of(Own(), x)["table"]
    assert role.layout.transposed
    np.testing.assert_allclose(second[0], (x.T @ x).numpy(), rtol=1e-5)


def test_a_part_of_a_weights_columns_is_not_taken_for_the_weight():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv1d(4, 6, 3), nn.Linear(4, 6)

        def forward(self, x):
            return F.conv1d(x, self.conv.weight[:3]).sum() + F.linear(x[0, :2].t(), self.fc.weight[:, :2]).sum()

    assert moments_of(Own(), torch.randn(1, 4, 9)) == {}


def test_a_vector_that_linear_takes_is_no_layer():
    assert moments_of(Uses(lambda weight: weight[0]), torch.randn(9, 6)).keys() == {"layer.weight"}


def test_overlapping_views_of_one_buffer_are_told_apart():
    model, flat = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)), torch.randn(60)
    model[0].weight.data, model[1].weight.data = flat[:36].view(6, 6), flat[24:].view(6, 6)
    x = torch.randn(9, 6)
    found = moments_of(model, x)
    for name, inputs in (("0.weight", x), ("1.weight", model[0](x).detach())):
        np.testing.assert_allclose(found[name][1][0], (inputs.T @ inputs).numpy(), rtol=1e-4)


@pytest.mark.parametrize("kind", MODELS)
def test_looking_changes_nothing(kind):
    model = make(kind).train()
    before = snapshot(model)
    flags = [p.requires_grad for p in model.parameters()]
    network = TorchNetwork(model, [example(kind)])
    network.moments(network.roles)
    network.gains(network.roles)
    network.outputs({name: network.weight(name) + 1 for name in network.roles})
    assert_same(snapshot(model), before)
    assert all(module.training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([], ValueError, "there are no calibration batches"),
        (torch.zeros(3, 12), TypeError, "put it into a list"),
        ({"x": torch.zeros(3, 12)}, TypeError, "put it into a list"),
        (3, TypeError, "batches are an iterable of inputs, found one int"),
        ("inputs.npz", TypeError, "batches are an iterable of inputs, found one str"),
        ([3], TypeError, "batch 0 is a int"),
        ([torch.zeros(2, 12), torch.full((2, 12), math.nan)], ValueError, "batch 1 has 24 values"),
        ([torch.zeros(2, 11)], ValueError, r"batch 0 \(float32 \[2, 11\]\) does not fit the model"),
        ([torch.zeros(2, 12, dtype=torch.int64)], ValueError, r"batch 0 \(int64 \[2, 12\]\) does not fit"),
        ([(torch.zeros(2, 12), torch.zeros(1))], ValueError, "does not fit the model"),
        ([{"y": torch.zeros(2, 12)}], ValueError, "does not fit the model"),
    ],
)
def test_unsound_inputs_are_refused(batches, error, message):
    with pytest.raises(error, match=message):
        TorchNetwork(make("mlp"), batches)


def test_outputs_that_are_not_finite_are_refused():
    class Root(nn.Linear):
        def forward(self, x):
            return super().forward(x).sqrt()

    with pytest.raises(ValueError, match=r"for calibration batch 0 the model gives .* not finite"):
        TorchNetwork(Root(4, 4), [torch.linspace(-3, 3, 40).view(10, 4)])


def test_fewer_inputs_than_columns_hide_no_direction():
    """Fitted to 24 inputs, a layer of 96 columns errs on fresh ones hardly more than on those."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1024, 96, generator=generator) @ torch.diag(torch.linspace(0.5, 2, 96))
    layer = nn.Linear(96, 64)
    network = TorchNetwork(layer, [x[:24]])
    weight = network.weight("weight")
    layout = network.roles["weight"].layout
    metric = metric_of(layout, network.moments(["weight"])["weight"], network.gains(["weight"])["weight"])
    error = layout.tensor(fit_penalty(layout.matrices(weight), metric, 0.02).values()) - weight
    seen, fresh = (float((part @ torch.from_numpy(error).T).square().mean()) for part in (x[:24], x[24:]))
    assert fresh < 3 * seen


@pytest.mark.parametrize("shape", [(6, 4), (4, 3, 2, 2)])
@pytest.mark.parametrize("transposed", [False, True])
def test_matrices_and_back(shape, transposed):
    weight = np.arange(math.prod(shape)).reshape(shape)
    layout = Layout.of(shape, transposed, groups=2)
    assert np.array_equal(layout.tensor(layout.matrices(weight)), weight)


def test_many_columns_lie_in_blocks():
    layout = Layout.of((2, 25088))
    assert layout.blocks == 7
    weight = np.arange(2 * 25088).reshape(2, 25088)
    parts = layout.matrices(weight)
    assert parts.shape == (7, 2, 3584)
    assert parts[1, 0, 0] == 3584
    assert np.array_equal(layout.tensor(parts), weight)


class Stateful(nn.Module):
    """Writes into a buffer, replaces another and keeps its last output, and normalises by its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(6, 4), nn.BatchNorm1d(4)
        self.register_buffer("count", torch.ones(()))
        self.register_buffer("steps", torch.ones(()), persistent=False)
        self.last: torch.Tensor | None = None

    def forward(self, x):
        x.mul_(2)
        self.norm.training = True
        self.count += 1
        found = self.norm(self.fc(x)) * self.count + (0 if self.last is None else self.last.mean() * self.steps)
        self.last = found.detach()
        self.steps = self.steps + 1
        return found


def test_a_model_that_keeps_state_and_writes_into_its_inputs_is_as_before_and_measured_right():
    model, batches = Stateful(), [torch.randn(8, 6), torch.randn(8, 6)]
    state, inputs = snapshot(model), [each.clone() for each in batches]
    network = TorchNetwork(model, batches)
    network.gains(["fc.weight"])
    assert change(network.outputs({}), network.outputs({})) == 0
    assert_same(snapshot(model), state)
    assert model.last is None
    assert model.steps == 1
    assert all(torch.equal(now, was) for now, was in zip(batches, inputs, strict=True))


def of_numpy(count):
    """Draws by NumPy's own generator, as the functions of numpy.random do."""
    return np.random.Generator(np.random.get_bit_generator()).random(count, np.float32)


class Chance(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        return self.fc(x) + torch.rand(4) + torch.from_numpy(of_numpy(4)) + random.random()


def test_chance_of_numpy_and_python_is_the_same_in_each_run_and_theirs_again_later():
    network = TorchNetwork(Chance(), [torch.randn(8, 6)])
    generator, state = np.random.get_bit_generator(), random.getstate()
    drawn = generator.state
    assert change(network.outputs({}), network.outputs({})) == 0
    assert np.random.get_bit_generator() is generator
    assert str(generator.state) == str(drawn)
    assert random.getstate() == state


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gains_do_not_depend_on_the_callers_gradients(off):
    """A plan is often made where gradients are turned off."""
    torch.manual_seed(0)
    model, batches = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), [torch.randn(8, 6)]
    names = ["0.weight", "2.weight"]
    expected = TorchNetwork(model, batches).gains(names)
    with off():
        found = TorchNetwork(model, batches).gains(names)
    assert all(np.array_equal(found[name], expected[name]) for name in names)
    assert all(gain.any() for gain in found.values())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_weights_made_in_inference_mode_are_named_with_the_remedy():
    with torch.inference_mode():
        model = nn.Linear(6, 5)
    with pytest.raises(ValueError, match=r"weight was made in torch\.inference_mode\(\), .* build or load the model"):
        TorchNetwork(model, [torch.randn(8, 6)]).gains(["weight"])
