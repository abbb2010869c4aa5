"""Jobs of several processes, as a caller writes them, killed in the middle and started again."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from models import make, train_step
from processes import die, on_ranks, results
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.nn.parallel import DistributedDataParallel

import deepcompression as dc
from deepcompression import Gradual, Prune, Recipe, Rule, Share
from tests.training.test_ranks import inputs
from tests.training.test_sharded import FULL, full, shard

RECIPE = Recipe(
    rules=[Rule(module="*", prune=Prune(criterion="global-magnitude", density=0.2), share=Share(bits=2))],
    schedule=Gradual(begin=1, end=8, every=2),
)


class UnderDdp:
    """The steps that differ between the ways to train a model on several ranks."""

    @staticmethod
    def wrap(model):
        return DistributedDataParallel(model)

    @staticmethod
    def state(model):
        return model.module.state_dict()

    @staticmethod
    def moments(model, optimizer):
        return optimizer.state_dict()

    @staticmethod
    def give_moments(model, optimizer, moments):
        optimizer.load_state_dict(moments)


class UnderFsdp(UnderDdp):
    wrap = staticmethod(shard)
    state = staticmethod(full)

    @staticmethod
    def moments(model, optimizer):
        return get_optimizer_state_dict(model, optimizer, options=FULL)

    @staticmethod
    def give_moments(model, optimizer, moments):
        set_optimizer_state_dict(model, optimizer, moments, options=FULL)


def job(rank, way, folder, killed_at=None):
    """Ten steps in stage 1, five in stage 2; a checkpoint after every third."""
    path = folder / "checkpoint.pt"
    model, pruner, moments, begin = make("mlp"), None, None, 0
    if path.exists():
        checkpoint = torch.load(path)
        begin, moments = checkpoint["step"], checkpoint["moments"]
        pruner = dc.resume(model, checkpoint["model"], RECIPE)
    else:
        pruner = dc.prune(model, RECIPE)
    model = way.wrap(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    if moments:
        way.give_moments(model, optimizer, moments)
    for step in range(begin, 15):
        if step == 10:
            assert pruner.done
            shared = make("mlp", seed=1)
            dc.resume(shared, way.state(model))
            dc.share(shared, RECIPE)
            model, pruner = way.wrap(shared), None
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        train_step(model, optimizer, inputs(rank, step))
        if pruner:
            pruner.step()
        if step == killed_at:  # all ranks, as a machine that fails
            die()
        if step % 3 == 2:
            checkpoint = {"step": step + 1, "model": way.state(model), "moments": way.moments(model, optimizer)}
            if rank == 0:
                torch.save(checkpoint, folder / "new.pt")
                (folder / "new.pt").replace(path)
            dist.barrier()
    dc.save(model, folder / "model.dcz")
    return begin


@pytest.mark.parametrize("way", [UnderDdp, UnderFsdp])
def test_a_killed_job_resumes_and_ends_with_the_same_file(way, tmp_path):
    files = []
    for name, kills in {"whole": [], "killed": [4, 13]}.items():
        folder = tmp_path / name
        folder.mkdir()
        for killed_at in kills:
            assert {outcome.exit_code for outcome in on_ranks(job, way, folder, killed_at)} == {-9}
        assert results(job, way, folder) == [12 if kills else 0] * 2
        files.append((folder / "model.dcz").read_bytes())
    assert files[0] == files[1]
