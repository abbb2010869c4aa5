"""Models compiled by torch.compile in every stage: the same results, moving masks, no needless compilation."""

from __future__ import annotations

import copy
import shutil
import warnings

import pytest
import torch
from models import dense, example, make, train_step
from processes import results
from torch._dynamo import config
from torch._dynamo.utils import counters
from torch.nn.parallel import DistributedDataParallel

import deepcompression as dc
from deepcompression import Gradual, Prune, Recipe, Rule, Share
from tests.training.test_sharded import shard

# torch warns when it compiles an autograd.Function
pytestmark = pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be:DeprecationWarning")

STEPS = 4


def recipe(grid=None):
    rule = Rule(module="*", prune=Prune(density=0.3), share=Share(bits=3, codebook_grid=grid))
    return Recipe(rules=[rule], schedule=Gradual(end=STEPS, every=1))


def compilations():
    return counters["stats"]["unique_graphs"]


def check(compiled, model, x):
    """Checks that a compiled model has the results of a plain one, in training too."""
    twin = copy.deepcopy(model)
    for net, parameters in ((compiled, model.parameters()), (twin, twin.parameters())):
        optimizer = torch.optim.SGD(parameters, lr=0.05)
        train_step(net, optimizer, x)
    for name, weight in dense(twin).items():
        torch.testing.assert_close(dense(model)[name], weight)
    torch.testing.assert_close(compiled(x), model(x))


def through_stages(backend, grid, plain=True):
    """The number of compilations in each stage; with `plain` also before the first and after the last."""
    torch._dynamo.reset()
    model, x = make("mlp"), example("mlp")
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    counts = {}

    def stage(name):
        before = compilations()
        for _ in range(2):
            check(compiled, model, x)
        counts[name] = compilations() - before

    if plain:
        stage("plain")
    pruner = dc.prune(compiled, recipe(grid))
    stage("masked")
    with config.patch(error_on_recompile=True):
        before = compilations()
        while not pruner.done:
            survivors = torch.count_nonzero(compiled._orig_mod[0].weight)
            pruner.step()
            assert torch.count_nonzero(compiled._orig_mod[0].weight) < survivors
            check(compiled, model, x)
        counts["moved"] = compilations() - before
    dc.share(compiled, recipe(grid))
    stage("shared")
    if plain:
        dc.finalize(compiled)
        stage("plain again")
    return counts


@pytest.mark.parametrize("grid", [None, "int8"])
def test_every_stage_is_compiled_once_and_masks_move_without_compiling(grid):
    counts = through_stages("aot_eager", grid)
    assert counts.pop("moved") == 0
    assert counts.pop("plain again") <= 1
    assert counts == {"plain": 1, "masked": 1, "shared": 1}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_inductor_takes_every_stage():
    assert through_stages("inductor", "int8", plain=False) == {"masked": 1, "moved": 0, "shared": 1}


def inside_ddp(model):
    return torch.compile(DistributedDataParallel(model), backend="aot_eager")


def around_ddp(model):
    return DistributedDataParallel(torch.compile(model, backend="aot_eager"))


def sharded(model):
    return torch.compile(shard(model), backend="aot_eager")


def layers_sharded(model):
    for layer in model:
        layer.compile(backend="aot_eager")
    return shard(model)


def on_ranks_compiled(rank, wrap, order):
    warnings.filterwarnings("ignore", ".*autograd.function.Function.* should not be", DeprecationWarning)
    model, twin = make("mlp"), make("mlp")
    x = example("mlp") + rank
    if order == "before":
        pruner = dc.prune(model, recipe())
        compiled = wrap(model)
    else:
        compiled = wrap(model)
        compiled(x).sum().backward()
        pruner = dc.prune(compiled, recipe())
    other = dc.prune(twin, recipe())
    optimizer = torch.optim.SGD(compiled.parameters(), lr=0.05)
    twins = torch.optim.SGD(twin.parameters(), lr=0.05)
    counts = []
    for _ in range(STEPS):
        train_step(compiled, optimizer, x)
        loss = sum(twin_loss(twin, example("mlp") + each) for each in range(2)) / 2
        twins.zero_grad()
        loss.backward()
        twins.step()
        pruner.step(), other.step()
        counts.append(compilations())
    assert pruner.done
    torch.testing.assert_close(compiled(x), twin(x))
    return counts


def twin_loss(model, x):
    output = model(x)
    return (output - torch.arange(output.shape[-1], dtype=output.dtype)).square().mean()


@pytest.mark.parametrize(
    ("wrap", "order"),
    [(inside_ddp, "before"), (around_ddp, "after"), (sharded, "after"), (layers_sharded, "before")],
)
def test_masks_move_in_compiled_models_on_several_ranks(wrap, order):
    for counts in results(on_ranks_compiled, wrap, order):
        assert counts[0] > 0
        assert counts[1:] == [counts[1]] * (STEPS - 1)


def shared_compiled(rank, wrap):
    warnings.filterwarnings("ignore", ".*autograd.function.Function.* should not be", DeprecationWarning)
    model, twin = make("mlp"), make("mlp")
    for net in (model, twin):
        dc.share(net, recipe("int8"))
    compiled, x = wrap(model), example("mlp")
    for net in (compiled, twin):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        for _ in range(2):
            train_step(net, optimizer, x)
    torch.testing.assert_close(compiled(x), twin(x))


@pytest.mark.parametrize("wrap", [inside_ddp, sharded])
def test_shared_models_are_compiled_on_several_ranks(wrap):
    results(shared_compiled, wrap)
