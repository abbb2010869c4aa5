"""Embeddings with sparse gradients in both stages: the same training as with dense ones."""

from __future__ import annotations

import pytest
import torch
from models import assert_same, snapshot
from torch import nn
from torch.nn import functional as F

import deepcompression as dc

IDS = torch.tensor([[1, 3, 3], [4, 0, 2]])


class Tied(nn.Module):
    def __init__(self, sparse):
        super().__init__()
        self.table, self.head = nn.Embedding(50, 8, sparse=sparse), nn.Linear(8, 50)
        self.head.weight = self.table.weight

    def forward(self, ids):
        return self.head(self.table(ids))


class Own(nn.Module):
    """A parameter of a module of one's own, looked up twice."""

    def __init__(self, sparse):
        super().__init__()
        self.table, self.sparse = nn.Parameter(torch.randn(50, 8)), sparse

    def forward(self, ids):
        return sum(F.embedding(each, self.table, sparse=self.sparse) for each in (ids, ids + 1))


KINDS = {
    "embedding": lambda sparse: nn.Embedding(50, 8, sparse=sparse),
    "padded": lambda sparse: nn.Embedding(50, 8, padding_idx=3, sparse=sparse),
    "of limited norm": lambda sparse: nn.Embedding(50, 8, max_norm=1.0, sparse=sparse),
    "bag": lambda sparse: nn.EmbeddingBag(50, 8, mode="mean", sparse=sparse),
    "bag of limited norm": lambda sparse: nn.EmbeddingBag(50, 8, mode="sum", max_norm=1.0, sparse=sparse),
    "bfloat16": lambda sparse: nn.Embedding(50, 8, sparse=sparse, dtype=torch.bfloat16),
    "tied": Tied,
    "own": Own,
}
STAGES = ["pruned", "shared", "shared on a grid"]


def made(kind, stage, sparse=True):
    torch.manual_seed(0)
    model = KINDS[kind](sparse)
    grid = "int8" if stage.endswith("grid") else None
    rule = dc.Rule(tensor="*", prune=dc.Prune(density=0.5), share=dc.Share(bits=3, codebook_grid=grid))
    dc.prune(model, dc.Recipe(rules=[rule]))
    if stage != "pruned":
        dc.share(model, dc.Recipe(rules=[rule]))
    return model


def gradients(model):
    model(IDS).float().square().sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_sparse_gradients_train_as_dense_ones_do(kind, stage):
    trained = []
    for sparse in (False, True):
        model = made(kind, stage, sparse)
        trained.append({name: each.to_dense() for name, each in gradients(model).items()})
        torch.optim.SGD(model.parameters(), lr=0.1).step()
        trained[-1]["outputs"] = model(IDS).detach()
    for name, expected in trained[0].items():
        torch.testing.assert_close(trained[1][name], expected)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"tied"}))
def test_gradients_under_a_mask_stay_sparse(kind):
    """Optimizers for sparse gradients take no others."""
    model = made(kind, "pruned")
    (gradient,) = gradients(model).values()
    assert gradient.layout == torch.sparse_coo
    optimizer = torch.optim.SparseAdam(list(model.parameters()), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        gradients(model)
        optimizer.step()
    dc.finalize(model)
    assert torch.count_nonzero(next(model.parameters())) <= 200


@pytest.mark.parametrize("kind", ["of limited norm", "bag of limited norm"])
def test_a_limit_of_norms_leaves_the_gradient_of_the_plain_layer(kind):
    model = made(kind, "pruned")
    plain, mask = dc.finalize(made(kind, "pruned")), model.parametrizations.weight[0].mask
    (found,), (expected,) = gradients(model).values(), gradients(plain).values()
    torch.testing.assert_close(found.to_dense(), expected.to_dense() * mask)


def test_a_limit_of_norms_holds_in_both_stages_and_writes_nothing():
    for stage in STAGES:
        model = made("of limited norm", stage)
        before = snapshot(model)
        assert float(model(IDS).detach().norm(dim=-1).max()) <= 1.0001
        assert_same(snapshot(model), before)
