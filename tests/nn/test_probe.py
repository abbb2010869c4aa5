"""The use of a matrix is seen by trying the forward of its module."""

import pytest
import torch
from models import assert_same, snapshot
from running_models import assert_near, compressed, double, floats, packed_names
from torch import nn
from torch.nn import functional as F

import deepcompression as dc
from deepcompression.nn.probe import tried_use


class Own(nn.Module):
    """A matrix of 64 x 96 or, turned, of 96 x 64, and a forward that is given."""

    def __init__(self, forward, turned=False):
        super().__init__()
        self.weight = nn.Parameter(floats(*((96, 64) if turned else (64, 96))))
        self.bias = nn.Parameter(floats(96 if not turned else 64))
        self.seen, self._forward = [], forward

    def forward(self, x):
        self.seen.append(x.shape)
        return self._forward(self, x)


# all compute x W with W of 64 x 96
TRANSPOSED = {
    "Conv1D": lambda m, x: torch.addmm(m.bias, x.view(-1, x.shape[-1]), m.weight).view(*x.shape[:-1], 96),
    "matmul": lambda m, x: torch.matmul(x, m.weight) + m.bias,
    "operator": lambda m, x: x @ m.weight + m.bias,
    "mm": lambda m, x: x.flatten(0, -2).mm(m.weight),
    "linear of the transpose": lambda m, x: F.linear(x, m.weight.t(), m.bias),
    "linear of T": lambda m, x: F.linear(x, m.weight.T),
    "from the left": lambda m, x: (m.weight.t() @ x.mT).mT,
    "addmm with factors": lambda m, x: torch.addmm(m.bias, x.flatten(0, -2), m.weight, beta=0.5, alpha=2),
}
# all compute x W^T with W of 96 x 64
LINEAR = {
    "linear": lambda m, x: F.linear(x, m.weight) * 2,
    "matmul of the transpose": lambda m, x: torch.matmul(x, m.weight.t()),
    "operator": lambda m, x: x @ m.weight.T,
    "mT": lambda m, x: x @ m.weight.mT,
    "transpose": lambda m, x: x @ m.weight.transpose(-2, -1),
    "torch.t": lambda m, x: x @ torch.t(m.weight),
    "from the left": lambda m, x: (m.weight @ x.mT).mT,
}


@pytest.mark.parametrize("way", TRANSPOSED)
def test_a_module_that_multiplies_by_the_weight_runs_packed(way):
    runs_packed(Own(TRANSPOSED[way]), "transposed")


@pytest.mark.parametrize("way", LINEAR)
def test_a_module_that_multiplies_by_the_transpose_runs_packed(way):
    runs_packed(Own(LINEAR[way], turned=True), "linear")


def runs_packed(model, use):
    model = compressed(model)
    before = snapshot(model)
    assert tried_use(model, "weight") == use
    assert model.seen == []
    small = dc.run(model)
    assert packed_names(small) == {"weight"}
    assert dc.explain(small).rows[0].shape == tuple(model.weight.shape)
    x = floats(2, 3, 64)
    assert_near(small(x).detach(), double(model)(x.double()).detach(), 3e-6)
    assert_same(snapshot(model), before)


def test_square_matrices_are_told_apart():
    square = Own(lambda m, x: x @ m.weight)
    square.weight = nn.Parameter(floats(80, 80))
    assert tried_use(square, "weight") == "transposed"
    square._forward = lambda m, x: F.linear(x, m.weight)
    assert tried_use(square, "weight") == "linear"


class Scaled(nn.Embedding):
    def forward(self, x):
        return super().forward(x) * 8


def test_embeddings_with_a_forward_of_their_own_run_packed():
    model = compressed(Scaled(100, 64))
    small = dc.run(model)
    assert packed_names(small) == {"weight"}
    numbers = torch.tensor([[3, 99], [0, 3]])
    assert torch.equal(small(numbers), model(numbers))


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: x @ (m.weight / m.weight.norm()),
        lambda m, x: x @ m.weight + F.linear(x @ m.weight, m.weight).sum(),
        lambda m, x: x * m.weight.shape[0],
        lambda m, x: torch.einsum("bsi,io->bso", x, m.weight),
        lambda m, x: x["hidden"] @ m.weight,
        lambda m, x: (x @ m.weight, x),
    ],
)
def test_other_uses_stay_dense(forward):
    model = compressed(Own(forward))
    assert tried_use(model, "weight") is None
    small = dc.run(model)
    assert packed_names(small) == set()
    assert "its use by Own is unknown: name it in linear=" in dc.explain(small).rows[0].why


def test_the_wrong_side_is_refused_with_the_remedy():
    model = compressed(Own(lambda m, x: (x @ m.weight, x)))
    small = dc.run(model, linear=["weight"])
    with pytest.raises(TypeError, match=r"weight is packed, and torch's matmul cannot .* dense=\['weight'\]"):
        small(floats(2, 64))


def test_a_turned_weight_survives_a_copy_of_its_state():
    model = compressed(Own(TRANSPOSED["Conv1D"]))
    small, other = dc.run(model), dc.run(compressed(Own(TRANSPOSED["Conv1D"]), density=0.2))
    other.load_state_dict(small.state_dict())
    x = floats(3, 64)
    assert torch.equal(other(x), small(x))
