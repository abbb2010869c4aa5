"""Several processes with one model: their agreement, and the same error on all when one of them fails."""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributed as dist
from models import assert_same, dense, make, snapshot, train_step
from processes import die, errors, on_ranks, results
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import deepcompression as dc
from deepcompression import Gradual, Prune, Recipe, Rule, Share
from deepcompression.recipe.targets import targets_of
from deepcompression.training.attach import original
from deepcompression.training.ranks import Ranks

RULE = Rule(module="*", prune=Prune(density=0.4), share=Share(bits=2))
RECIPE = Recipe(rules=[RULE], schedule=Gradual(end=5, every=1))
AS_PRUNED = Recipe(rules=[RULE])


def inputs(rank, seed=0):
    return torch.randn(3, 12, generator=torch.Generator().manual_seed(10 * seed + rank))


def optimizer_of(model):
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def train(model, rank, steps, step=lambda: None):
    optimizer = optimizer_of(model)
    for number in range(steps):
        train_step(model, optimizer, inputs(rank, number))
        step()
    return model


def numbers(state):
    """The state as arrays, which pickle."""
    return {name: tensor.numpy() for name, tensor in state.items()}


# agreeing


def all_stages_under_ddp(rank, path):
    model = DistributedDataParallel(make("mlp"))
    train(model, rank, 1)
    pruner = dc.prune(model, RECIPE)
    assert not {name for name in dict(model.named_parameters()) if not name.startswith("module.")}
    train(model, rank, 7, pruner.step)
    assert pruner.done
    before, dead = dense(model), dc.dead_neurons(model)
    dc.share(model.module, RECIPE)
    assert all((weight[before[name] == 0] == 0).all() for name, weight in dense(model).items() if weight.dim() > 1)
    model = train(DistributedDataParallel(model.module), rank, 2)
    dc.save(model, path)
    after = dense(model)
    dc.finalize(model.module)
    assert_same(dense(model), after)
    train(DistributedDataParallel(model.module), rank, 1)
    assert isinstance(dead, dict)
    return numbers(after)


def test_all_stages_under_ddp_are_the_same_on_every_rank(tmp_path):
    one, other = results(all_stages_under_ddp, tmp_path / "model.dcz")
    assert [path.name for path in tmp_path.iterdir()] == ["model.dcz"]
    run = dc.run(nn.DataParallel(torch.compile(make("mlp"), backend="eager")), tmp_path / "model.dcz")
    assert [row.names for row in dc.explain(run).rows] == [("0.weight",), ("2.weight",), ("4.weight",)]
    loaded = dense(dc.load(tmp_path / "model.dcz", into=make("mlp", seed=1)))
    for name, weight in loaded.items():
        assert (one[name] == other[name]).all()
        assert (weight.numpy() == one[name]).all()
    assert int((loaded["0.weight"] != 0).sum()) == 96


def no_masks_are_sent(rank):
    model = make("conv-net")
    pruner = dc.prune(model, RECIPE)
    ddp = DistributedDataParallel(model)
    sent = {name for name, buffer in model.named_buffers() if any(buffer is each for each in ddp.modules_buffers)}
    state = {f"module.{name}": tensor for name, tensor in snapshot(model).items()}
    resumed = make("conv-net", seed=1)
    dc.resume(DistributedDataParallel(resumed), state, RECIPE).step()
    pruner.step()
    assert_same(resumed.state_dict(), model.state_dict())
    return sent


def test_masks_are_not_sent_with_every_forward_and_states_may_have_the_names_of_ddp():
    sent = results(no_masks_are_sent)
    assert sent == [{"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}] * 2


def compressed_in_one_call(rank):
    report = dc.compress(make("mlp"), Recipe(rules=[RULE]), evaluate=lambda model: float(rank))
    return report.file_bytes, report.before


def test_all_ranks_get_the_report_of_a_file_that_only_the_first_sees():
    one, other = results(compressed_in_one_call)
    assert one == other
    assert one[1] == 0


# disagreeing


def message(change, model, look=snapshot):
    """The error of a change, after a check that nothing has changed."""
    before = look(model)
    try:
        change()
    except (ValueError, RuntimeError, OSError) as error:
        assert_same(look(model), before)
        return f"{type(error).__name__}: {error}"
    raise AssertionError("no error")


def spoilt(rank, value, names=("2.weight",), spoiler=1):
    """A model with masks, and with other weights on one rank."""
    model = make("mlp")
    pruner = dc.prune(model, RECIPE)
    with torch.no_grad():
        for target in targets_of(model):
            if rank == spoiler and target.name in names:
                original(target)[:3] = value
    return model, pruner


def other_weights(rank, recipe_file):
    said = {}
    for value in (7.0, math.nan):
        model, pruner = spoilt(rank, value)
        said["step", str(value)] = message(pruner.step, model)
        said["share", str(value)] = message(lambda model=model: dc.share(model, AS_PRUNED), model)
        plain = make("mlp")
        with torch.no_grad():
            plain[2].weight[:3] = value if rank else plain[2].weight[:3]
        said["prune", str(value)] = message(lambda plain=plain: dc.prune(plain, Recipe(rules=[RULE])), plain)
    model = make("mlp")
    with torch.no_grad():
        model[4].weight[1] = math.inf
    said["everywhere"] = message(lambda: dc.prune(model, RECIPE), model)
    model = make("mlp")
    own = Recipe(rules=[Rule(module="[02]" if rank else "[04]", prune=Prune(density=0.5))])
    said["recipe"] = message(lambda: dc.prune(model, own), model)
    said["no recipe"] = message(lambda: dc.prune(model, recipe_file if rank else RECIPE), model)
    state = snapshot(spoilt(rank, 7.0)[0])
    state["4.parametrizations.weight.0.mask"][0, rank] ^= True
    said["state"] = message(lambda: dc.resume(model, state, RECIPE), model)
    said["empty state"] = message(lambda: dc.resume(model, {} if rank else state, RECIPE), model)
    # all ranks can continue
    dc.prune(model, RECIPE).step()
    return said


def test_weights_recipes_and_states_that_differ_are_an_error_on_all_ranks_that_names_what(tmp_path):
    one, other = results(other_weights, tmp_path / "recipe.yaml")
    assert one == other
    differ = "2.weight: rank 1 would change otherwise than rank 0; nothing was changed on any rank"
    nan = "ValueError: rank 1: 2.weight has 60 weights that are NaN or infinite: it cannot be pruned"
    for change in ("prune", "step", "share"):
        assert differ in one[change, "7.0"], change
    assert nan in one["prune", "nan"]
    # a pruned weight may be NaN under its mask
    assert "ValueError: rank 1: 2.weight has" in one["step", "nan"]
    assert "ValueError: rank 1: 2.weight: it has" in one["share", "nan"]
    assert one["everywhere"].startswith("ValueError: 4.weight has 16 weights that are NaN")
    assert one["recipe"].startswith("ValueError: 4.weight, 2.weight: rank 1 would change otherwise than rank 0")
    assert one["no recipe"].startswith("FileNotFoundError: rank 1: no recipe file")
    assert one["state"].startswith("ValueError: 4.weight: rank 1 would change otherwise")
    assert one["empty state"].startswith("ValueError: rank 1: the checkpoint does not fit the model: 0.weight is")


def third_differs(rank):
    model, pruner = spoilt(rank, 7.0, names=("0.weight", "4.weight"), spoiler=2)
    return message(pruner.step, model)


def test_ranks_that_differ_are_named():
    (said,) = set(results(third_differs, ranks=3))
    assert said.startswith("ValueError: 0.weight, 4.weight: rank 2 would change otherwise than rank 0")


def saved_by_one(rank, folder):
    model = DistributedDataParallel(make("mlp"))
    pruner = dc.prune(model, RECIPE)
    if rank == 1:
        dc.save(model, folder / "model.dcz")
    # the other rank does not wait
    pruner.step()
    return message(lambda: dc.save(model, folder / "none" / "model.dcz"), model) if rank == 1 else ""


def test_one_rank_alone_may_write_the_file(tmp_path):
    _, said = results(saved_by_one, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.dcz"]
    assert said.startswith("FileNotFoundError")


def refused_inside_ddp(rank):
    model = make("mlp")
    inside = DistributedDataParallel(model)
    said = [message(lambda: dc.share(inside, RECIPE), model)]
    # before any training
    said.append(message(lambda: dc.compress(inside, RECIPE, train=lambda model, step: 1 / 0), model))
    shared = make("mlp")
    dc.share(shared, RECIPE)
    said.append(message(lambda: dc.resume(inside, shared.state_dict()), model))
    around = DistributedDataParallel(shared)
    said.append(message(lambda: dc.finalize(around), shared))
    return said


def test_parameters_that_ddp_holds_are_not_replaced():
    one, other = results(refused_inside_ddp)
    assert one == other
    for said, change in zip(one, ("share", "share", "resume", "finalize"), strict=True):
        assert said.startswith(f"ValueError: DistributedDataParallel holds the parameters that dc.{change} replaces")
        assert "DistributedDataParallel(model.module)" in said


# dying


def one_dies(rank):
    model = make("mlp")
    pruner = dc.prune(model, RECIPE)
    if rank == 1:
        die()
    return message(pruner.step, model)


def test_when_a_rank_dies_the_others_end_with_an_error():
    one, other = on_ranks(one_dies)
    assert other.exit_code == -9
    assert one.result.startswith("RuntimeError: another rank has ended or cannot be reached: nothing was changed here")


# one alone


def test_one_process_alone_pays_nothing():
    model = nn.Linear(2, 2)
    ranks = Ranks.of(model)
    assert ranks == Ranks(0, 1, None)

    def never(made):
        raise AssertionError

    assert ranks.agree(lambda: 5, never) == 5
    assert ranks.first(lambda: 6, beside=lambda: never(0)) == 6
    with pytest.raises(KeyError):
        ranks.agree(lambda: {}["x"], never)


def own_errors(rank):
    def fail():
        raise KeyError("x") if rank else MemoryError("no room")

    ranks = Ranks.of(nn.Linear(2, 2))
    assert dist.get_world_size() == ranks.size == 2
    ranks.agree(fail, lambda made: {})


def test_errors_of_any_kind_reach_all_ranks():
    assert errors(own_errors) == ["RuntimeError: rank 0: MemoryError: no room; nothing was changed on any rank"] * 2
