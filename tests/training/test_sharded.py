"""Models inside `fully_shard`: every rank holds a shard of each weight and whole masks."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from models import assert_same, dense, example, make, train_step
from processes import die, on_ranks, results
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecisionPolicy, fully_shard

import deepcompression as dc
from deepcompression import Prune, Recipe, Rule
from deepcompression.pruning.criteria import CRITERIA
from deepcompression.recipe.targets import targets_of
from deepcompression.training.attach import original
from tests.training.test_ranks import RECIPE, inputs, message, numbers, train

FULL = StateDictOptions(full_state_dict=True)


def shard(model, **options):
    """Each layer on its own, and the rest of the model."""
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    tied = len(list(model.parameters())) < len(list(model.named_parameters(remove_duplicate=False)))
    for module in [*([] if tied else model.children()), model]:
        if isinstance(module, nn.Linear | nn.Conv2d) or module is model:
            fully_shard(module, mesh=mesh, **options)
    return model


def full(model):
    return get_model_state_dict(model, options=FULL)


def pruning(criterion):
    amount = {CRITERIA[criterion].amount: 0.3}
    return Recipe(rules=[Rule(tensor="*.weight", prune=Prune(criterion=criterion, **amount))], schedule=RECIPE.schedule)


def pruned_in_all_orders(rank, criteria, options):
    return {criterion: pruned_in_orders(rank, criterion, options) for criterion in criteria}


def pruned_in_orders(rank, criterion, options):
    """A model pruned before, after and long after sharding, trained and pruned further: states in full, masked and
    plain, that are the same; names of parameters; dead neurons.
    """
    recipe, states = pruning(criterion), []
    for order in ("before", "after", "after training"):
        model = make("mlp")
        if order == "before":
            pruner = dc.prune(model, recipe)
            shard(model, **options)
        else:
            shard(model, **options)
            if order == "after training":
                # the root keeps its full weights
                with torch.no_grad():
                    model(inputs(rank))
            pruner = dc.prune(model, recipe)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for number in range(5):
            train_step(model, optimizer, inputs(0, number))
            pruner.step()
        assert pruner.done
        for target in targets_of(model):
            assert hasattr(original(target), "full_tensor")
        states.append(full(model))
        names = [name for name, _ in model.named_parameters()]
        dead = {name: (found.outputs.tolist(), found.inputs.tolist()) for name, found in dc.dead_neurons(model).items()}
        last = model(inputs(0)).detach()
        dc.finalize(model)
        assert torch.equal(model(inputs(0)).detach(), last)
        assert [type(module).__name__ for module in model] == ["FSDPLinear", "ReLU", "FSDPLinear", "ReLU", "FSDPLinear"]
        states.append(full(model))
        assert list(states[-1]) == list(make("mlp").state_dict())
        train_step(model, optimizer, inputs(0))
    for number in (2, 4):
        assert_same(states[number], states[0])
        assert_same(states[number + 1], states[1])
    return numbers(states[0]), numbers(states[1]), names, dead


def pruned_alone(criterion):
    """The same in one process."""
    model = make("mlp")
    pruner = dc.prune(model, pruning(criterion))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for number in range(5):
        train_step(model, optimizer, inputs(0, number))
        pruner.step()
    return model.state_dict()


OPTIONS = {
    "plain": {},
    "kept": {"reshard_after_forward": False},
    "mixed": {"mp_policy": MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)},
}


@pytest.mark.parametrize("options", OPTIONS)
def test_pruning_before_and_after_sharding_is_the_same_as_in_one_process(options):
    criteria = list(CRITERIA) if options == "plain" else ["magnitude"]
    one, other = results(pruned_in_all_orders, criteria, OPTIONS[options])
    for criterion in criteria:
        state, plain, names, dead = one[criterion]
        assert all((values == other[criterion][0][name]).all() for name, values in state.items())
        assert names == [name for name in state if name.rpartition(".")[2] not in ("mask", "step", "recipe")]
        for name in ("0.weight", "2.weight", "4.weight"):
            mask = state[name.replace(".weight", ".parametrizations.weight.0.mask")]
            assert not plain[name][~mask].any()
            if name in dead:
                assert dead[name] == (np.flatnonzero(~mask.any(1)).tolist(), np.flatnonzero(~mask.any(0)).tolist())
        if options != "mixed":
            for name, tensor in pruned_alone(criterion).items():
                np.testing.assert_allclose(state[name], tensor, rtol=1e-4, atol=1e-6)


def shared_and_sharded_anew(rank, path):
    model = shard(make("mlp"))
    pruner = dc.prune(model, RECIPE)
    train(model, rank, 5, pruner.step)
    dc.save(model, path / "pruned.dcz")
    said = [message(lambda: dc.share(model, RECIPE), model, full)]
    # the remedy
    new = make("mlp", seed=1)
    assert dc.resume(new, full(model), RECIPE).done
    dc.share(new, RECIPE)
    alone = make("mlp", seed=2)
    dc.resume(alone, new.state_dict())
    shard(new)
    train(new, 0, 3)
    train(alone, 0, 3)
    dc.save(new, path / "shared.dcz")
    said.append(message(lambda: dc.finalize(new), new, full))
    plain = shard(make("mlp"))
    said.append(message(lambda: dc.resume(plain, alone.state_dict()), plain, full))
    torch.testing.assert_close(numbers(full(new)), numbers(alone.state_dict()))
    assert message(lambda: dc.run(new), new, full).startswith("ValueError: the model is sharded (fully_shard): save it")
    return said, numbers(full(model)), numbers(dense(dc.finalize(alone)))


def test_sharing_a_sharded_model_is_refused_and_the_remedy_works(tmp_path):
    (one, pruned, shared), (other, *_) = results(shared_and_sharded_anew, tmp_path)
    assert one == other
    for said, change in zip(one, ("share", "finalize", "resume"), strict=True):
        assert said.startswith(f"ValueError: 0.weight is sharded (fully_shard), and dc.{change} changes its shape")
    for name, weight in dc.load_tensors(tmp_path / "shared.dcz").items():
        np.testing.assert_allclose(weight, shared[name], rtol=1e-5)
    for name, weight in dc.load_tensors(tmp_path / "pruned.dcz").items():
        key = name.replace(".weight", ".parametrizations.weight.original")
        assert (weight == pruned.get(name, pruned.get(key))).all()


def resumed_in_pieces(rank):
    """Loads a full state and one of shards into sharded models, the first of them built without memory."""
    model = shard(make("mlp"))
    pruner = dc.prune(model, RECIPE)
    train(model, 0, 2, pruner.step)
    pieces = model.state_dict()
    with torch.device("meta"):
        empty = shard(make("mlp"))
    said = message(lambda: dc.prune(empty, RECIPE), empty, lambda model: {})
    said += message(lambda: dc.resume(empty, pieces), empty, lambda model: {})
    pruners = []
    for state in (full(model), pieces):
        empty.to_empty(device="cpu") if not pruners else None
        resumed = shard(make("mlp", seed=1)) if pruners else empty
        other = dc.resume(resumed, state, RECIPE)
        assert_same(full(resumed), full(model))
        train(resumed, 0, 1, other.step)
        pruners.append((resumed, other))
    train(model, 0, 1, pruner.step)
    for resumed, other in pruners:
        assert other.steps == 3
        assert_same(full(resumed), full(model))
    return said


def test_states_are_loaded_into_sharded_models_even_without_memory():
    one, other = results(resumed_in_pieces)
    assert one == other
    prune, resume = one.split("ValueError: ")[1:]
    assert prune.startswith("0.weight has no memory (it is on the device meta): call model.to_empty(device=...)")
    assert "0.weight: it has no memory in the model (it is on the device meta)" in resume


def uneven_and_tied(rank, path):
    """Rows that do not divide, ranks without any, a weight in two places, buffers; the file of each model."""
    single = nn.Sequential(nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 1))
    with torch.no_grad():
        for parameter in single.parameters():
            parameter.copy_(torch.linspace(-1, 2, parameter.numel()).view_as(parameter))
    models = {"single": (single, inputs(0)), **{kind: (make(kind), example(kind)) for kind in ("tied", "conv-net")}}
    said = {}
    for name, (model, x) in models.items():
        # torch warns of outputs that are views, as a linear layer makes of more than two dimensions
        x = x[0] if name == "tied" else x
        alone = copy.deepcopy(model)
        dc.prune(alone, Recipe(rules=RECIPE.rules))
        shard(model)
        dc.prune(model, Recipe(rules=RECIPE.rules))
        for net in (alone, model):
            optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
            for _ in range(2):
                train_step(net, optimizer, x)
        dc.save(model, path / f"{name}.dcz")
        said[name] = numbers(dense(dc.finalize(alone)))
        assert_same(full(dc.finalize(model)), full(model))
        before = full(model)
        dc.load(path / f"{name}.dcz", into=model)
        assert_same(full(model), before)
    return said


def test_rows_that_do_not_divide_ties_and_buffers(tmp_path):
    said = results(uneven_and_tied, tmp_path)[0]
    for name, weights in said.items():
        loaded = dc.load_tensors(tmp_path / f"{name}.dcz")
        assert list(loaded) == list(weights)
        for key, values in loaded.items():
            np.testing.assert_allclose(values, weights[key], rtol=1e-4, atol=1e-6)


def failing_file(rank, path):
    """Rank 0 fails while it gathers weights."""
    model = make("mlp")
    model[2].register_buffer("odd", torch.zeros(2, dtype=torch.uint8).view(torch.bits8))
    shard(model)
    dc.prune(model, Recipe(rules=RECIPE.rules))
    said = message(lambda: dc.save(model, path), model, full)
    del model[2].odd
    dc.save(model, path)
    return said


def test_a_file_that_fails_while_weights_are_gathered_is_an_error_on_all_ranks(tmp_path):
    one, other = results(failing_file, tmp_path / "model.dcz")
    assert other == one.replace("ValueError: ", "ValueError: rank 0: ")
    assert "2.odd is [2] of torch.bits8" in one
    assert [path.name for path in tmp_path.iterdir()] == ["model.dcz"]


def refused_saving(rank, folder):
    model = shard(make("mlp"))
    said = {"folder": message(lambda: dc.save(model, folder / "none" / "model.dcz"), model, full)}
    said["paths"] = message(lambda: dc.save(model, folder / f"{rank}.dcz"), model, full)
    said["profile"] = message(lambda: dc.save(model, folder / "model.dcz", profile="best"), model, full)
    return said


def test_a_file_that_cannot_be_written_is_an_error_on_all_ranks_and_leaves_nothing(tmp_path):
    one, other = results(refused_saving, tmp_path)
    assert {name: text.replace("rank 0: ", "") for name, text in other.items()} == one
    assert "no such folder" in one["folder"]
    assert "1.dcz: rank 1 would change otherwise" in one["paths"]
    assert "profile" in one["profile"]
    assert not list(tmp_path.iterdir())


def older_sharding(rank):
    model = FullyShardedDataParallel(make("mlp"), device_id=torch.device("cpu"))
    changes = {"prune": dc.prune, "share": dc.share, "save": lambda model, recipe: dc.save(model, "never.dcz")}
    return [
        message(lambda change=change: change(model, RECIPE), model, lambda model: {}) for change in changes.values()
    ]


def test_the_older_sharding_is_refused():
    for said in results(older_sharding)[0]:
        assert said.startswith("ValueError: the model is inside FullyShardedDataParallel, which is not supported")


def one_dies(rank, change):
    model = shard(make("mlp"))
    pruner = dc.prune(model, RECIPE)
    if rank == 1:
        die()
    changes = {"step": pruner.step, "save": lambda: dc.save(model, "model.dcz")}
    return message(changes[change], model, lambda model: {name: t.to_local() for name, t in model.named_parameters()})


@pytest.mark.parametrize("change", ["step", "save"])
def test_when_a_rank_dies_the_others_do_not_wait_for_it(change, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = on_ranks(one_dies, change)
    assert other.exit_code == -9
    assert one.result.startswith("RuntimeError: another rank has ended or cannot be reached: nothing was changed here")
