"""Checkpoints store a digest of the recipe of their masks: another recipe is refused by name."""

from __future__ import annotations

import pytest
from models import assert_same, make, snapshot
from stages_to_resume import RECIPES, RULE, STAGES

import deepcompression as dc
from deepcompression import Prune, Recipe, Rounds, Rule, Share
from tests.training.test_resume_refusals import refuse

CHANGES = {
    "schedule": {"schedule": Rounds(rounds=5)},
    "seed": {"seed": 1},
    "density": {"rules": [Rule(tensor="*", prune=Prune(density=0.31))]},
    "criterion": {"rules": [Rule(tensor="*", prune=Prune(criterion="global-magnitude", density=0.3))]},
    "grouping": {
        "rules": [Rule(tensor=f"{name}*", prune=Prune(criterion="random", density=0.3)) for name in ("[01]", "[24]")]
    },
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_recipe_that_has_changed_since_is_refused_by_name(change):
    base = RECIPES["rounds"]
    if change == "grouping":
        base = Recipe(rules=[Rule(tensor="*", prune=Prune(criterion="random", density=0.3))], schedule=base.schedule)
    changed = base.model_copy(update={name: tuple(v) if name == "rules" else v for name, v in CHANGES[change].items()})
    model = make("mlp")
    dc.prune(model, base)
    message = r"0\.weight was pruned by another recipe than this: schedule, seed or the rule's prune settings"
    refuse(make("mlp", seed=1), model.state_dict(), message, changed)
    pruner = dc.prune(make("mlp", seed=1), changed)
    pruner.model.load_state_dict(model.state_dict())
    before = snapshot(pruner.model)
    with pytest.raises(ValueError, match=message):
        pruner.step()
    assert_same(snapshot(pruner.model), before)


def test_what_is_shared_later_may_change_and_rules_that_do_not_depend_on_each_other_may_be_split():
    base = RECIPES["rounds"]
    model = make("mlp")
    dc.prune(model, base).step()
    rules = [Rule(tensor=name, prune=RULE.prune, share=Share(bits=bits)) for name, bits in (("0.*", 3), ("[24].*", 5))]
    pruner = dc.resume(make("mlp", seed=1), model.state_dict(), Recipe(rules=rules, schedule=base.schedule))
    assert pruner.steps == 1
    pruner.step()


def test_a_recipe_that_prunes_other_tensors_is_refused_by_name():
    model = make("mlp")
    few = Recipe(rules=[Rule(module="[02]", prune=RULE.prune)])
    more = Recipe(rules=[Rule(module="*", prune=RULE.prune)])
    dc.prune(model, few)
    refuse(make("mlp", seed=1), model.state_dict(), r"4\.weight is pruned by the recipe, but not in the ch", more)
    dc.prune(model, more)
    refuse(make("mlp", seed=1), model.state_dict(), r"4\.weight is pruned in the checkpoint, but not by the", few)


def test_masks_at_different_steps_are_refused_by_name():
    recipe = RECIPES["gradual"]
    model = make("mlp")
    pruner = dc.prune(model, recipe)
    early = snapshot(model)
    pruner.step(), pruner.step()
    state = {**snapshot(model), **{key: tensor for key, tensor in early.items() if key.startswith("2.")}}
    message = r"0\.weight is at step 2 of the schedule, 2\.weight at step 0: they were not saved together"
    refuse(make("mlp", seed=1), state, message, recipe)
    model.load_state_dict(state)
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        pruner.step()
    assert_same(snapshot(model), before)
    # without a recipe, nothing shows that the parts do not belong together
    dc.resume(make("mlp", seed=1), state)


def test_a_state_of_before_recipes_had_digests_is_refused():
    model = make("mlp")
    STAGES["masked"](model)
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("0.recipe")}
    refuse(
        make("mlp", seed=1),
        state,
        r"0\.parametrizations\.weight\.0\.recipe is missing \(an older version wrote no digest",
    )
