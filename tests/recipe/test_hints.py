"""What is said about a pattern that matches nothing, and about weights that no rule selects."""

import pytest
from torch import nn

import deepcompression as dc
from deepcompression.pruning.schedule import OneShot
from deepcompression.recipe.hints import unselected
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 3)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(1000, 8)
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Linear(8, 4)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"module": "conv*"}, r"the whole dotted name: module: '\*.conv\*' matches blocks.0.conv1, blocks.1.conv1;"),
        ({"module": "conv1"}, r"the whole dotted name: module: '\*.conv1' matches blocks.0.conv1, blocks.1.conv1;"),
        ({"tensor": "conv1.weight"}, r"tensor: '\*.conv1.weight' matches blocks.0.conv1.weight"),
        ({"module": "head.weight"}, "head.weight is selected by tensor: 'head.weight'"),
        ({"tensor": "head"}, "head is selected by module: 'head'"),
        ({"module": "Head"}, "did you mean head"),
        ({"module": "onv"}, "did you mean blocks.0.conv1"),
        ({"module": "nothing"}, r"\(module and type select tensors of at least two dimensions"),
    ],
)
def test_a_pattern_without_match_is_met_by_the_one_that_was_meant(rule, words):
    with pytest.raises(ValueError, match=f"rule 1 .* matches nothing.*{words}"):
        Recipe(rules=(Rule(**rule),)).matches(Net())


def test_layers_that_no_rule_selects_get_a_hint_if_they_hold_most_weights():
    some = Recipe(rules=(Rule(type="Conv2d"), Rule(module="head")))
    hint = unselected(some.matches(Net()))
    assert hint.startswith("no rule selects embed.weight, 98 % of all weights, which are stored exactly: add a rule")
    assert some.describe(Net()).endswith(hint)


@pytest.mark.parametrize("rule", [{"module": "embed"}, {"module": "*"}])
def test_layers_that_a_rule_selects_get_no_hint(rule):
    recipe = Recipe(rules=(Rule(**rule),))
    assert unselected(recipe.matches(Net())) == ""
    assert "no rule selects" not in recipe.describe(Net())


def test_the_hint_is_a_note_of_the_command(tmp_path):
    from deepcompression.checkpoint.open import open_checkpoint

    net = Net()
    dc.checkpoint.write_tensors(
        tmp_path / "m.safetensors",
        {name: dc.DenseTensor.from_numpy(tensor.detach().numpy()) for name, tensor in net.state_dict().items()},
        {},
    )
    recipe = Recipe(rules=(Rule(module="head", share=dc.Share(bits=2)),))
    with open_checkpoint(tmp_path / "m.safetensors") as source:
        notes = dc.compress_checkpoint(source, tmp_path / "m.dcz", recipe)
    assert [note[:28] for note in notes] == ["no rule selects embed.weight"]


def test_packed_codes_are_no_weights_that_a_rule_could_select(tmp_path):
    """What other tools packed stays as it is, and a note of its own says so."""
    import numpy as np
    from typer.testing import CliRunner

    from deepcompression.cli import app

    rng = np.random.default_rng(0)
    tensors = {
        "big.qweight": rng.integers(0, 1 << 30, (64, 256)).astype("i4"),
        "big.qzeros": rng.integers(0, 1 << 30, (4, 32)).astype("i4"),
        "big.scales": rng.standard_normal((200, 256)).astype("f4"),
        "head.weight": rng.standard_normal((16, 16)).astype("f4"),
    }
    dense = {name: dc.DenseTensor.from_numpy(array) for name, array in tensors.items()}
    dc.checkpoint.write_tensors(tmp_path / "m.safetensors", dense, {})
    done = CliRunner().invoke(
        app, ["compress", str(tmp_path / "m.safetensors"), "-o", str(tmp_path / "m.dcz"), "--bits", "4"]
    )
    assert done.exit_code == 0, done.output
    assert "GPTQ" in done.stderr
    assert "no rule selects" not in done.stderr


@pytest.mark.parametrize("schedule", ["one-shot", {"kind": "one-shot"}])
def test_a_schedule_without_settings_goes_by_its_name(schedule, tmp_path):
    assert Recipe.model_validate({"schedule": schedule, "rules": [{"module": "*"}]}).schedule == OneShot()
    (tmp_path / "r.yaml").write_text("schedule: one-shot\nrules: [{module: '*'}]")
    assert Recipe.load(tmp_path / "r.yaml").schedule == OneShot()


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("gradual", "schedule.gradual.end: Field required"),
        ("rounds", "schedule.rounds.rounds: Field required"),
        ("oneshot", "'one-shot', 'rounds', 'gradual'"),
    ],
)
def test_a_schedule_by_name_that_needs_settings_says_which(schedule, words, tmp_path):
    (tmp_path / "r.yaml").write_text(f"schedule: {schedule}\nrules: [{{module: '*'}}]")
    with pytest.raises(ValueError, match=words):
        Recipe.load(tmp_path / "r.yaml")


def test_rules_count_from_1_in_yaml_and_in_python(tmp_path):
    wrong = {"rules": [{"module": "a"}, {"module": "b", "prune": {"density": 0.1, "strength": 3}}]}
    for make in (Recipe.model_validate, lambda data: Recipe(**data)):
        with pytest.raises(ValueError, match=r"rules\.2\.prune\.strength: unknown key") as caught:
            make(wrong)
        assert "rules.1" not in str(caught.value)
    (tmp_path / "r.yaml").write_text("rules: [{module: a}, {module: b, prune: {density: 0.1, strength: 3}}]")
    with pytest.raises(ValueError, match=r"r.yaml: rules\.2\.prune\.strength: unknown key$"):
        Recipe.load(tmp_path / "r.yaml")


@pytest.mark.parametrize("kind", ["Conv*", "*", "linear"])
def test_a_type_that_is_no_class_of_the_model_meets_the_names_of_those(kind):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2))
    recipe = Recipe.model_validate({"version": 1, "rules": [{"type": kind, "prune": {"density": 0.5}}]})
    with pytest.raises(ValueError, match=r"without patterns; classes here are Conv2d, Linear;"):
        recipe.matches(model)
