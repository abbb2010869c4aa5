"""Recipes explained: every tensor with its rule and treatment."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import make

import deepcompression as dc
from deepcompression import Encode, Prune, Recipe, Rule, Share
from deepcompression.tensors.tensor import DenseTensor


@pytest.fixture
def load(tmp_path):
    def load(text: str | bytes) -> Recipe:
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return Recipe.load(path)

    return load


def test_explain_shows_every_tensor_with_its_rule_and_treatment():
    rules = (
        Rule(type="Conv2d", prune=Prune(density=0.25), share=Share(bits=8, init="optimal"), encode=Encode(gap_bits=4)),
        Rule(module="fc", prune=Prune(criterion="threshold", quality=0.5)),
        Rule(tensor="norm.*", prune=Prune(criterion="global-magnitude", density=0.5)),
    )
    lines = Recipe(rules=rules).describe(make("conv-net")).splitlines()
    assert [line.split(maxsplit=4) for line in lines] == [
        ["tensor", "shape", "weights", "rule", "treatment"],
        [
            "conv1.weight",
            "6x1x3x3",
            "54",
            "1",
            "prune by magnitude to 14; share 256 centroids (optimal); encode gap_bits 4",
        ],
        ["conv1.bias", "6", "6", "-", "keep"],
        ["norm.weight", "6", "6", "3", "prune by global-magnitude to 0.5 of all tensors of the rule"],
        ["norm.bias", "6", "6", "3", "prune by global-magnitude to 0.5 of all tensors of the rule"],
        ["norm.running_mean", "6", "6", "-", "keep"],
        ["norm.running_var", "6", "6", "-", "keep"],
        ["norm.num_batches_tracked", "scalar", "1", "-", "keep"],
        [
            "conv2.weight",
            "8x3x3x3",
            "216",
            "1",
            "prune by magnitude to 54; share 256 centroids (optimal); encode gap_bits 4",
        ],
        ["fc.weight", "4x8", "32", "2", "prune by threshold at 0.5 deviations"],
        ["fc.bias", "4", "4", "-", "keep"],
    ]


@pytest.mark.parametrize(("grid", "words"), [(None, "(linear)"), ("int8", "(linear, int8 grid)")])
def test_explain_shows_the_grid_of_a_codebook(grid, words):
    recipe = Recipe(rules=(Rule(module="fc", share=Share(bits=3, codebook_grid=grid)),))
    assert f"share 8 centroids {words}\n" in recipe.describe(make("conv-net"))


def test_no_preset_has_a_grid():
    assert not any(rule.share.codebook_grid for name in Recipe.presets() for rule in Recipe.load(name).rules)


def test_explain_shows_a_tied_weight_once_with_its_names():
    lines = Recipe(rules=(Rule(module="*"),)).describe(make("tied")).splitlines()
    assert lines[1].startswith("embedding.weight = output.weight  11x8")
    assert len(lines) == 3


def test_explain_promises_the_count_that_prune_leaves():
    model = make("mlp")
    recipe = Recipe(rules=(Rule(module="*", prune=Prune(density=0.3)),))
    lines = recipe.describe(model).splitlines()
    dc.prune(model, recipe)
    assert f"to {torch.count_nonzero(model[0].weight)}" in lines[1]


def test_explain_raises_the_errors_of_matches():
    with pytest.raises(ValueError, match="matches nothing"):
        Recipe(rules=(Rule(module="x"),)).describe(make("mlp"))


def test_explain_prints_names_that_the_output_lacks(monkeypatch):
    import io

    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", narrow)
    Recipe(rules=(Rule(tensor="*"),)).explain({"größe": DenseTensor.from_numpy(np.ones((2, 2), np.float32))})
    narrow.flush()
    assert rb"gr\xf6\xdfe" in narrow.buffer.getvalue()


def test_explain_prints_the_description(capsys):
    recipe = Recipe(rules=(Rule(module="*", prune=Prune(density=0.5)),))
    recipe.explain(make("mlp"))
    assert capsys.readouterr().out == recipe.describe(make("mlp")) + "\n"
