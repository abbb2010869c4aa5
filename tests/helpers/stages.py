"""Models brought into the stages of compression, and a caller's training."""

from __future__ import annotations

import torch
from models import example, train_step

import deepcompression as dc
from deepcompression import Prune, Recipe, Rule, Share

RULE = Rule(tensor="*", prune=Prune(density=0.4), share=Share(bits=2))
RECIPE = Recipe(rules=[RULE])
MATRICES = Recipe(rules=[Rule(module="*", prune=Prune(density=0.4), share=Share(bits=2))])
STAGES = {
    "dense": [],
    "pruned": [dc.prune],
    "shared": [dc.share],
    "pruned and shared": [dc.prune, dc.share],
    "mixed": [dc.prune, lambda model, recipe: dc.share(model, MATRICES)],
    "final": [dc.prune, dc.share, lambda model, recipe: dc.finalize(model)],
}


def to_stage(model, stage):
    for change in STAGES[stage]:
        change(model, RECIPE)
    return model


def step_of(kind):
    """A caller's training: two steps of a new SGD over the parameters of the stage."""

    def train(model, step):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for _ in range(2):
            train_step(model, optimizer, example(kind))
            step()

    return train
