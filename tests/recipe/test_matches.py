"""Rules matched to tensors: who wins, what is left, and the errors of those that match nothing."""

from __future__ import annotations

import numpy as np
import pytest
from models import make
from torch import nn

import deepcompression as dc
from deepcompression import Prune, Recipe, Rule, Share
from deepcompression.tensors.tensor import DenseTensor

SHARE = Share(bits=2)


@pytest.fixture
def load(tmp_path):
    def load(text: str | bytes) -> Recipe:
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return Recipe.load(path)

    return load


def selected(recipe, model):
    """Names by the number of their rule."""
    found: dict[int, list[str]] = {}
    for target, rule in recipe.matches(model):
        number = 0 if rule is None else next(i for i, r in enumerate(recipe.rules, 1) if r is rule)
        found.setdefault(number, []).append(target.name)
    return found


def test_the_first_rule_that_selects_a_tensor_wins():
    recipe = Recipe(rules=(Rule(module="4"), Rule(type="Linear", share=SHARE), Rule(tensor="0.bias")))
    found = selected(recipe, make("mlp"))
    assert found == {1: ["4.weight"], 2: ["0.weight", "2.weight"], 3: ["0.bias"], 0: ["2.bias", "4.bias"]}


def test_a_rule_whose_tensors_earlier_rules_take_is_refused():
    recipe = Recipe(rules=(Rule(type="Linear"), Rule(module="2", share=SHARE)))
    with pytest.raises(
        ValueError, match=r"rule 2 \(module: 2\) comes too late: earlier rules took 2\.weight; put it be"
    ):
        recipe.matches(make("mlp"))


def test_a_rule_that_matches_nothing_lists_the_names_that_exist():
    with pytest.raises(
        ValueError, match=r"rule 1 \(module: fc\*\) matches nothing .*; there are 0\.weight, 0\.bias, 2"
    ):
        Recipe(rules=(Rule(module="fc*"),)).matches(make("mlp"))


def test_a_rule_for_a_module_of_vectors_alone_names_the_remedy():
    with pytest.raises(ValueError, match="select tensors of at least two dimensions; name others by tensor"):
        Recipe(rules=(Rule(module="norm"),)).matches(make("conv-net"))


def test_a_rule_on_a_model_without_weights_says_so():
    with pytest.raises(ValueError, match="there are no weights"):
        Recipe(rules=(Rule(module="*"),)).matches(nn.ReLU())


@pytest.mark.parametrize(
    "rules", [(Rule(module="fc*", optional=True),), (Rule(module="*"), Rule(module="0", optional=True))]
)
def test_an_optional_rule_may_select_nothing(rules):
    Recipe(rules=rules).matches(make("mlp"))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(module="conv[12]"), ["conv1.weight", "conv2.weight"]),
        (Rule(module="conv1"), ["conv1.weight"]),
        (Rule(module="*"), ["conv1.weight", "conv2.weight", "fc.weight"]),
        (Rule(type="Conv2d"), ["conv1.weight", "conv2.weight"]),
        (Rule(type="_ConvNd"), ["conv1.weight", "conv2.weight"]),
        (Rule(type="Module"), ["conv1.weight", "conv2.weight", "fc.weight"]),
        (Rule(type="Conv2d", module="*2"), ["conv2.weight"]),
        (Rule(tensor="*.bias"), ["conv1.bias", "norm.bias", "fc.bias"]),
        (Rule(tensor="*", type="Linear"), ["fc.weight", "fc.bias"]),
        (Rule(where=lambda target: target.count < 6), ["fc.bias"]),
        (Rule(where=lambda target: len(target.shape) == 4, tensor="*1*"), ["conv1.weight"]),
    ],
)
def test_all_selectors_must_agree(rule, expected):
    assert selected(Recipe(rules=(rule,)), make("conv-net"))[1] == expected


def test_buffers_and_whole_numbers_are_never_selected():
    found = selected(Recipe(rules=(Rule(tensor="*"),)), make("own"))
    assert found[0] == ["steps", "flags"]
    assert selected(Recipe(rules=(Rule(tensor="*"),)), make("conv-net"))[0] == [
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    ]


@pytest.mark.parametrize(
    "rule", [Rule(module="output"), Rule(module="embedding"), Rule(type="Linear"), Rule(type="Embedding")]
)
def test_a_tied_weight_is_selected_by_any_of_its_places(rule):
    assert selected(Recipe(rules=(rule,)), make("tied"))[1] == ["embedding.weight"]


def test_parameters_of_the_model_itself_have_an_empty_module_name():
    assert selected(Recipe(rules=(Rule(module=""),)), make("own"))[1] == ["table", "fixed"]


def test_selection_is_the_same_in_every_stage():
    recipe = Recipe(
        rules=(Rule(type="Conv2d", prune=Prune(density=0.5), share=SHARE), Rule(tensor="fc.*", share=SHARE))
    )
    model = make("conv-net")
    expected = selected(recipe, model)
    dc.prune(model, recipe)
    assert selected(recipe, model) == expected
    dc.share(model, recipe)
    assert selected(recipe, model) == expected


CHECKPOINT = {
    "conv.weight": DenseTensor.from_numpy(np.ones((2, 3), np.float32)),
    "conv.bias": DenseTensor.from_numpy(np.ones(2, np.float16)),
    "count": DenseTensor.from_numpy(np.array([[1, 2]])),
}


def test_a_checkpoint_is_matched_as_a_model_is():
    assert selected(Recipe(rules=(Rule(module="conv"), Rule(tensor="*"))), CHECKPOINT) == {
        1: ["conv.weight"],
        2: ["conv.bias"],
        0: ["count"],
    }


def test_a_checkpoint_cannot_be_matched_by_type():
    with pytest.raises(ValueError, match="selects by type, which only a model has"):
        Recipe(rules=(Rule(type="Conv2d"),)).matches(CHECKPOINT)


def test_rules_by_type_are_refused_on_a_checkpoint_even_if_optional():
    checkpoint = {"fc.weight": DenseTensor.from_numpy(np.ones((2, 2), np.float32))}
    with pytest.raises(ValueError, match="selects by type, which only a model has"):
        Recipe.load("paper").matches(checkpoint)


def test_a_rule_by_type_on_a_model_without_tensors_matches_nothing():
    with pytest.raises(ValueError, match=r"rule 1 \(type: Linear\) matches nothing.*; there are no weights"):
        dc.prune(nn.Identity(), Recipe(rules=[Rule(type="Linear", share=SHARE)]))
