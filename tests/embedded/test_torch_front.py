"""Every torch operator that boards know computes what torch computes; all others are named at once."""

import re

import numpy as np
import pytest
import torch
from onnx_boards import floats
from torch import nn

import deepcompression as dc
from deepcompression.embedded.fold import fold
from deepcompression.embedded.simulate_float import simulate_float
from deepcompression.embedded.torch_front import graph_of_torch
from deepcompression.embedded.torch_operators import OPERATORS

PICTURE, VECTOR, SEQUENCE = (4, 6, 6), (8,), (7, 3)


class Of(nn.Module):
    """A module of a function of x and its layers."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


class Product(nn.Module):
    def __init__(self, shape, function):
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(floats(*shape)))
        self.function = function

    def forward(self, x):
        return self.function(x, self.weight)


def last(cell):
    return Of(lambda x, layer: layer(x)[0][:, -1] + layer(x)[0][:, 2], cell)


CASES = {
    "linear": (nn.Linear(8, 5), VECTOR),
    "linear of vectors": (nn.Linear(3, 5, bias=False), SEQUENCE),
    "matmul": (Product((8, 5), lambda x, w: x @ w), VECTOR),
    "addmm": (Product((8, 5), lambda x, w: torch.addmm(w[0], x, w)), VECTOR),
    "mm": (Product((5, 8), lambda x, w: torch.mm(x, w.t())), VECTOR),
    "conv2d": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2), PICTURE),
    "conv2d same": (nn.Conv2d(4, 4, (3, 4), dilation=2, padding="same", groups=4), PICTURE),
    "conv2d valid": (nn.Conv2d(4, 2, 3, padding="valid", bias=False), PICTURE),
    "conv1d": (nn.Conv1d(7, 5, 2, padding=1), SEQUENCE),
    "max_pool2d": (nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), PICTURE),
    "max_pool1d": (nn.MaxPool1d(2), SEQUENCE),
    "avg_pool2d": (nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), PICTURE),
    "avg_pool2d of its padding": (nn.AvgPool2d((3, 2), stride=1, padding=1), PICTURE),
    "avg_pool1d": (nn.AvgPool1d(2, stride=1), SEQUENCE),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d((3, 2)), PICTURE),
    "adaptive_avg_pool1d": (nn.AdaptiveAvgPool1d(1), SEQUENCE),
    "adaptive_max_pool2d": (nn.AdaptiveMaxPool2d(1), PICTURE),
    "adaptive_max_pool1d": (nn.AdaptiveMaxPool1d(3), SEQUENCE),
    "mean": (Of(lambda x: x.mean((-1, -2))), PICTURE),
    "mean of one axis": (Of(lambda x: x.mean(2, keepdim=True)), SEQUENCE),
    "mean of the steps": (Of(lambda x: x.mean(1)), SEQUENCE),
    "relu": (nn.ReLU(inplace=True), VECTOR),
    "relu6": (nn.Sequential(nn.Linear(8, 8), nn.ReLU6()), VECTOR),
    "clamp": (Of(lambda x: x.clamp(max=0.5)), VECTOR),
    "hardtanh": (nn.Hardtanh(-0.4, 0.6), VECTOR),
    "leaky_relu": (nn.LeakyReLU(0.2), VECTOR),
    "prelu": (nn.PReLU(), VECTOR),
    "sigmoid": (nn.Sigmoid(), VECTOR),
    "tanh": (nn.Tanh(), VECTOR),
    "hardsigmoid": (nn.Hardsigmoid(), VECTOR),
    "hardswish": (nn.Hardswish(), VECTOR),
    "elu": (nn.ELU(1.3), VECTOR),
    "gelu": (nn.GELU(), VECTOR),
    "gelu by tanh": (nn.GELU("tanh"), VECTOR),
    "silu": (nn.SiLU(), VECTOR),
    "add": (Of(lambda x: x + torch.relu(x) + 2), PICTURE),
    "sub": (Of(lambda x: (1 - x) - torch.relu(x) - 0.5), PICTURE),
    "rsub": (Of(lambda x: 2 - torch.relu(x)), PICTURE),
    "neg": (Of(lambda x: -x), PICTURE),
    "mul": (Of(lambda x: 3 * x * torch.sigmoid(x)), PICTURE),
    "mul by a constant": (Product((4, 1, 1), lambda x, w: x * w), PICTURE),
    "div": (Of(lambda x: x / 3), VECTOR),
    "batch_norm": (nn.Sequential(nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3)), PICTURE),
    "batch_norm of vectors": (nn.Sequential(nn.Linear(8, 3), nn.BatchNorm1d(3, affine=False)), VECTOR),
    "cat": (Of(lambda x: torch.cat([x, torch.relu(x), x], 1)), PICTURE),
    "softmax": (nn.Softmax(-1), SEQUENCE),
    "log of nothing": (nn.Sequential(nn.Identity(), nn.Dropout(), nn.Linear(8, 2)), VECTOR),
    "flatten": (nn.Sequential(nn.Flatten(), nn.Linear(144, 2)), PICTURE),
    "reshape": (Of(lambda x, layer: layer(x.reshape(1, -1, 9)), nn.Linear(9, 2)), PICTURE),
    "view": (Of(lambda x, layer: layer(x.view(-1, 72)), nn.Linear(72, 2)), PICTURE),
    "unflatten": (nn.Sequential(nn.Unflatten(1, (2, 4)), nn.Linear(4, 2)), VECTOR),
    "squeeze": (
        Of(lambda x, layer: layer(x.unsqueeze(1).unsqueeze(-1).squeeze(-1).squeeze()), nn.Linear(8, 2)),
        VECTOR,
    ),
    "transpose": (Of(lambda x, layer: layer(x.unsqueeze(1).transpose(1, 0)), nn.Linear(8, 2)), VECTOR),
    "transpose of a picture": (Of(lambda x: x.transpose(1, 3) * 2), PICTURE),
    "permute of a picture": (Of(lambda x: torch.relu(x.permute(0, 3, 1, 2))), (4, 6, 5)),
    "permute": (Of(lambda x, layer: layer(x.unsqueeze(1).permute(1, 0, 2)), nn.Linear(8, 2)), VECTOR),
    "select": (Of(lambda x: torch.relu(x[:, 3])), SEQUENCE),
    "slice": (Of(lambda x: torch.relu(x[:, 1:-2])), PICTURE),
    "slice of columns": (Of(lambda x: x[..., 1:4] + x[..., ::2]), PICTURE),
    "select of a column": (Of(lambda x: torch.relu(x[:, :, :, 2])), PICTURE),
    "chunk": (Of(lambda x: torch.relu(x.chunk(2, 1)[1])), PICTURE),
    "split": (Of(lambda x: x.split(3, 1)[0] + x.split([3, 1, 3], 1)[2]), SEQUENCE),
    "gru": (Of(lambda x, layer: layer(x)[0], nn.GRU(3, 4, batch_first=True)), SEQUENCE),
    "gru, its last state": (Of(lambda x, layer: layer(x)[1], nn.GRU(3, 4, batch_first=True, bias=False)), SEQUENCE),
    "gru of several layers": (last(nn.GRU(3, 4, num_layers=3, batch_first=True)), SEQUENCE),
    "gru of both directions": (last(nn.GRU(3, 4, num_layers=2, batch_first=True, bidirectional=True)), SEQUENCE),
    "lstm of both directions": (
        Of(lambda x, layer: layer(x)[1][0], nn.LSTM(3, 4, batch_first=True, bidirectional=True)),
        SEQUENCE,
    ),
    "lstm": (last(nn.LSTM(3, 4, batch_first=True)), SEQUENCE),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_what_torch_computes(name):
    model, shape = CASES[name]
    model.eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_(generator=torch.Generator().manual_seed(1))
                module.running_var.fill_(0.7)
    inputs = floats(3, *shape, seed=9)
    graph = graph_of_torch(model, inputs[:1])
    with torch.no_grad():
        expected = np.stack([model(torch.from_numpy(each[None].copy())).numpy().reshape(-1) for each in inputs])
    for each in (graph, fold(graph)):
        np.testing.assert_allclose(simulate_float(each, inputs)[each.output], expected, rtol=1e-5, atol=1e-5)


def test_every_operator_of_the_table_has_a_case():
    """Those that torch.export gives for modules and functions of torch; the others are names of the same."""
    same = {name.removesuffix("_") for name in OPERATORS}
    plain = {"concat", "split_with_sizes", "getitem", "dropout", "unsqueeze", "t", "contiguous", "clone", "detach"}
    other = {"alias", "lift_fresh_copy", "feature_dropout", "alpha_dropout"}
    assert same - plain - other <= {name.split(" ")[0].rstrip(",") for name in CASES}


def test_all_missing_operators_are_named_at_once():
    def forward(x, first, second):
        y = torch.cumsum(first(x), 1)
        return torch.relu(torch.einsum("bcd->bdc", second(y))).transpose(1, 2)

    model = Of(forward, nn.Linear(3, 4), nn.LayerNorm(4))
    with pytest.raises(ValueError, match="boards cannot run") as caught:
        graph_of_torch(model, floats(1, *SEQUENCE))
    message = str(caught.value)
    for words in ("cumsum, 1 time (cumsum)", "layer_norm, 1 time (layers.1)", "einsum, 1 time"):
        assert words in message
    assert "relu," not in message.partition("; known are")[0]


class Kept(nn.Module):
    """A module that remembers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("sum", torch.zeros(1, 8))

    def forward(self, x):
        self.sum.add_(x)
        return self.sum * 2


def _part_in_place(x, layer):
    y = layer(x)
    y[:, 2:4].mul_(3)
    return y + x


def _row_in_place(x, layer):
    y = layer(x)
    y[0] = 0
    return y + x


def _before_in_place(x, layer):
    y = layer(x)
    rows = y.view(1, 2, 4)
    y += 1
    return rows.relu()


def test_a_change_in_place_is_followed_where_the_value_itself_is_read_again():
    def forward(x, first, second):
        y = first(x).flatten(1)
        return second(torch.relu_(y)).sigmoid_() + y

    model = Of(forward, nn.Linear(8, 8), nn.Linear(8, 8)).eval()
    inputs = floats(3, 8, seed=9)
    graph = graph_of_torch(model, inputs[:1])
    expected = model(torch.from_numpy(inputs)).detach().numpy()
    np.testing.assert_allclose(simulate_float(graph, inputs)[graph.output], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (nn.GRU(3, 4, batch_first=True, bidirectional=True), SEQUENCE, "the model takes 1 inputs and gives 2 outputs"),
        (Of(lambda x, layer: layer(x, x[:, :1])[0], nn.GRU(3, 3, batch_first=True)), SEQUENCE, "is no constant"),
        (Of(lambda x, layer: layer(x)[1][1], nn.LSTM(3, 4, batch_first=True)), SEQUENCE, "it takes output 2"),
        (nn.AdaptiveAvgPool2d(4), PICTURE, "its windows differ in size: [6, 6] to [4, 4]"),
        (nn.BatchNorm2d(4, track_running_stats=False), PICTURE, "no running mean"),
        (nn.SELU(), VECTOR, "selu"),
        (nn.Identity(), VECTOR, "does not depend on a layer"),
        (
            Of(_part_in_place, nn.Linear(8, 8)),
            VECTOR,
            "(mul_: it changes its input in place, which is read again as linear",
        ),
        (
            Of(_row_in_place, nn.Linear(8, 8)),
            VECTOR,
            "(fill_: it changes its input in place, which is read again as linear",
        ),
        (
            Of(_before_in_place, nn.Linear(8, 8)),
            VECTOR,
            "(add_: it changes its input in place, which is read again as view",
        ),
        (Kept(), VECTOR, "(add_: it changes the model's state"),
        (Of(lambda x: x if x.sum() > 0 else -x), VECTOR, "torch.export cannot trace the model"),
    ],
)
def test_a_use_that_is_missing_is_named_with_its_reason(model, shape, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        graph_of_torch(model.eval(), floats(1, *shape))


def test_pruned_and_shared_weights_and_those_of_parametrizations_are_constants():
    def layer(stage):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(16, 12), nn.ReLU(), torch.nn.utils.parametrizations.weight_norm(nn.Linear(12, 4))
        )
        if stage:
            dc.prune(model, dc.Recipe(rules=[dc.Rule(module="0", prune=dc.Prune(density=0.25))]))
        if stage == "shared":
            dc.share(model, dc.Recipe(rules=[dc.Rule(module="0", share=dc.Share(bits=3))]))
        return model.eval()

    for stage in ("", "pruned", "shared"):
        model = layer(stage)
        before = {name: each.clone() for name, each in model.state_dict().items()}
        first, _, second = graph_of_torch(model, floats(1, 16)).operators
        assert first.weight.name == "0.weight"
        assert np.array_equal(first.weight.values, model[0].weight.detach().numpy())
        np.testing.assert_allclose(second.weight.values, model[2].weight.detach().numpy(), rtol=1e-6)
        assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())


def test_a_model_in_training_mode_is_exported_as_for_inference():
    model = nn.Sequential(nn.Dropout(0.9), nn.Linear(8, 2), nn.BatchNorm1d(2))
    graph = graph_of_torch(model.train(), floats(1, 8))
    assert [type(each).__name__ for each in graph.calls] == ["Linear", "Scale"]
    assert model.training
