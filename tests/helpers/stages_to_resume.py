"""The stages of a model that a checkpoint may hold, and the recipes that lead there."""

from __future__ import annotations

import deepcompression as dc
from deepcompression import Gradual, Prune, Recipe, Rounds, Rule, Share

RULE = Rule(tensor="*", prune=Prune(density=0.3), share=Share(bits=2))
RECIPES = {
    "one-shot": Recipe(rules=[RULE]),
    "rounds": Recipe(rules=[RULE], schedule=Rounds(rounds=4)),
    "gradual": Recipe(rules=[RULE], schedule=Gradual(begin=1, end=7, every=2)),
    "random": Recipe(rules=[Rule(tensor="*", prune=Prune(criterion="random", density=0.2))], schedule=Rounds(rounds=4)),
}
MATRICES = Recipe(rules=[Rule(where=lambda target: len(target.shape) != 1, share=Share(bits=2))])


def share_after_pruning(model):
    dc.prune(model, RECIPES["one-shot"])
    dc.share(model, RECIPES["one-shot"])


def share_some_after_pruning(model):
    dc.prune(model, RECIPES["one-shot"])
    dc.share(model, MATRICES)


STAGES = {
    "dense": lambda model: None,
    "masked": lambda model: dc.prune(model, RECIPES["one-shot"]),
    "shared": lambda model: dc.share(model, RECIPES["one-shot"]),
    "pruned and shared": share_after_pruning,
    "mixed": share_some_after_pruning,
}
