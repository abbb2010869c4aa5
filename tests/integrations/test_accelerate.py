"""Accelerate's checkpoints of models in mid-stage: in the middle of an epoch, with tied weights, of another stage."""

import pytest
import scripts
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import deepcompression as dc

RECIPE = dc.Recipe.model_validate(
    {
        "version": 1,
        "schedule": {"kind": "gradual", "end": 10, "every": 2},
        "rules": [{"module": "*", "prune": {"density": 0.25}, "share": {"bits": 3}}],
    }
)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(32, 8)
        self.hidden = nn.Linear(8, 8)
        self.head = nn.Linear(8, 32, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.hidden(self.embedding(tokens)).relu())


def batches():
    tokens = torch.randint(32, (48,), generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(tokens), 4)


def prepared(model):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    return accelerator, *accelerator.prepare(model, optimizer, batches())


def train(accelerator, wrapped, optimizer, loader, pruner, save_at=None):
    for number, (tokens,) in enumerate(loader, 1):
        with accelerator.accumulate(wrapped):
            accelerator.backward(nn.functional.cross_entropy(wrapped(tokens), tokens))
            optimizer.step()
            optimizer.zero_grad()
        if accelerator.sync_gradients:
            pruner.step()
        if number == save_at:
            accelerator.save_state("state")


@scripts.apart
def test_a_checkpoint_in_mid_epoch_and_mid_schedule_ends_with_the_same_file(tmp_path):
    model = Tied()
    pruner = dc.prune(model, RECIPE)
    train(*prepared(model), pruner, save_at=6)
    assert pruner.steps == 6
    dc.save(model, "whole.dcz")

    model = Tied()
    pruner = dc.prune(model, RECIPE)
    accelerator, wrapped, optimizer, loader = prepared(model)
    accelerator.load_state("state")
    assert pruner.steps == 3
    # as many batches as the steps took
    train(accelerator, wrapped, optimizer, accelerator.skip_first_batches(loader, 2 * pruner.steps), pruner)
    assert pruner.steps == 6
    assert not pruner.done
    dc.save(model, "resumed.dcz")
    assert (tmp_path / "resumed.dcz").read_bytes() == (tmp_path / "whole.dcz").read_bytes()
    assert torch.equal(model.head.weight, model.embedding.weight)


@scripts.apart
def test_checkpoints_of_another_stage_name_their_tensors(tmp_path):
    model = Tied()
    prepared(model)[0].save_state("plain")
    dc.prune(model, RECIPE)
    accelerator, *_ = prepared(model)
    with pytest.raises(RuntimeError, match=r"hidden\.weight is a plain weight in the state"):
        accelerator.load_state("plain")
    accelerator.save_state("pruned")
    dc.share(model, RECIPE.model_copy(update={"schedule": dc.OneShot()}))
    with pytest.raises(RuntimeError, match=r"hidden\.parametrizations\.weight"):
        prepared(model)[0].load_state("pruned")
