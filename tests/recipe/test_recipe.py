"""Recipes: reading, mistakes, selection, explanation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from models import make
from pydantic import ValidationError
from torch import nn

import deepcompression as dc
from deepcompression import Encode, Gradual, Prune, Recipe, Rounds, Rule, Share
from deepcompression.coding.coders import CODERS
from deepcompression.convert.tensors import compress_tensors
from deepcompression.pruning.criteria import CRITERIA
from deepcompression.sharing.codebook import CODEBOOKS
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


# reading and writing


def test_yaml_expresses_all_that_python_does(load):
    text = """
    version: 1
    name: all of it
    seed: 3
    schedule: {kind: gradual, begin: 1, end: 9, every: 2}
    rules:
      - module: conv*
        type: Conv2d
        optional: true
        prune: {criterion: threshold, quality: 1.5}
        share: {bits: 5, init: density, codebook_grid: int16}
        encode: {coder: huffman, gap_bits: 4}
      - tensor: fc.bias
    """
    rule = Rule(
        module="conv*",
        type="Conv2d",
        optional=True,
        prune=Prune(criterion="threshold", quality=1.5),
        share=Share(bits=5, init="density", codebook_grid="int16"),
        encode=Encode(coder="huffman", gap_bits=4),
    )
    schedule = Gradual(begin=1, end=9, every=2)
    assert load(text) == Recipe(name="all of it", seed=3, schedule=schedule, rules=(rule, Rule(tensor="fc.bias")))


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("init", CODEBOOKS)
@pytest.mark.parametrize("coder", [None, *CODERS])
def test_yaml_round_trip_gives_the_same_recipe(load, criterion, init, coder):
    prune = Prune(criterion=criterion, **{CRITERIA[criterion].amount: 0.3})
    rule = Rule(module="a[12]", prune=prune, share=Share(bits=4, init=init), encode=Encode(coder=coder))
    for schedule in (dc.OneShot(), Rounds(rounds=3), Gradual(end=8)):
        recipe = Recipe(name="é", seed=5, schedule=schedule, rules=(rule, Rule(tensor="*.bias", optional=True)))
        assert load(recipe.to_yaml()) == recipe


def test_a_callable_cannot_be_written_as_yaml():
    with pytest.raises(ValueError, match="rule 2 selects by a callable"):
        Recipe(rules=(Rule(module="*"), Rule(where=lambda target: True))).to_yaml()


@pytest.mark.parametrize("name", Recipe.presets())
@pytest.mark.parametrize("kind", ["mlp", "conv-net"])
def test_every_preset_loads_and_applies(name, kind):
    model = make(kind)
    recipe = Recipe.load(name)
    assert recipe.name == name
    if any(rule.prune for rule in recipe.rules):
        dc.prune(model, recipe)
    dc.share(model, recipe)
    assert "parametrizations" in "".join(model.state_dict())


def test_a_name_that_is_neither_file_nor_preset_lists_the_presets(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no recipe file .*nothing\.yaml.*are paper, share-8bit, share-smaller"
    ):
        Recipe.load(tmp_path / "nothing.yaml")


# mistakes

RULE = "rules: [{module: '*', %s}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [", "not YAML"),
        ("rules: []\nrules: []", "the key 'rules' is there twice"),
        ("rules: [{module: a, prune: {density: 0.5, density: 0.1}}]", "the key 'density' is there twice"),
        ("rules: [{module: a, prune: {density: 50}}]", r"rules\.1\.prune\.density: .*; found 50$"),
        ("rules: [{module: a, prune: {density: half}}]", r"rules\.1\.prune\.density: .*; found 'half'$"),
        ("rules: {module: a}", "rules: .*; found a dict$"),
        ("", "a recipe is a mapping with `rules`, found NoneType"),
        ("- module: x", "a recipe is a mapping with `rules`, found list"),
        ("paper", "a recipe is a mapping with `rules`, found str"),
        (b"rules: \xff\xfe\xff", "not YAML"),
        ("name: x", "rules: Field required"),
        ("rules: {module: x}", "rules: "),
        ("rules: [conv]", r"rules\.1: "),
        ("rules: []\nversion: 2", "version: "),
        ("rules: []\nprune: 0.5", "prune: unknown key"),
        ("rules: []\nseed: -1", "seed: "),
        ("rules: []\nseed: true", "seed: "),
        ("rules: []\nschedule: gradual", "schedule.gradual.end: Field required"),
        ("rules: []\nschedule: {kind: sometimes}", "schedule: .*one-shot.*rounds.*gradual"),
        ("rules: []\nschedule: {kind: gradual, end: 5, start: 1}", r"schedule\.gradual\.start: unknown key"),
        ("rules: []\nschedule: {kind: gradual, begin: 5, end: 5}", r"schedule\.gradual: end must come after begin"),
        ("rules: [{prune: {density: 0.1}}]", r"rules\.1: a rule needs a selector"),
        (RULE % "dens: 1", r"rules\.1\.dens: unknown key"),
        (RULE % "prune: {density: 0.1, qualty: 1}", r"rules\.1\.prune\.qualty: unknown key"),
        (RULE % "share: {bits: 3, initial: linear}", r"rules\.1\.share\.initial: unknown key"),
        (RULE % "encode: {gaps: 3}", r"rules\.1\.encode\.gaps: unknown key"),
        (RULE % "prune: 0.5", r"rules\.1\.prune: "),
        (RULE % "prune: {}", r"rules\.1\.prune: the criterion magnitude takes density"),
        (RULE % "prune: {density: 1.1}", r"rules\.1\.prune\.density: .*less than or equal to 1"),
        (RULE % "prune: {density: -0.1}", r"rules\.1\.prune\.density: .*greater than or equal to 0"),
        (RULE % "prune: {density: .nan}", r"rules\.1\.prune\.density: "),
        (RULE % "prune: {density: half}", r"rules\.1\.prune\.density: .*valid number"),
        (RULE % "prune: {criterion: threshold}", r"rules\.1\.prune: the criterion threshold takes quality"),
        (RULE % "prune: {criterion: threshold, density: 0.5}", r"rules\.1\.prune: .*takes quality, and nothing else"),
        (RULE % "prune: {density: 0.5, quality: 1}", r"rules\.1\.prune: .*takes density, and nothing else"),
        (RULE % "prune: {criterion: threshold, quality: .inf}", r"rules\.1\.prune\.quality: "),
        (
            RULE % "prune: {criterion: best, density: 1}",
            r"prune\.criterion: unknown criterion 'best'; known are magnit",
        ),
        (RULE % "share: {}", r"rules\.1\.share: share takes either bits or a penalty"),
        (RULE % "share: {bits: 0}", r"rules\.1\.share\.bits: .*greater than or equal to 1"),
        (RULE % "share: {bits: 9}", r"rules\.1\.share\.bits: .*less than or equal to 8"),
        (RULE % "share: {bits: true}", r"rules\.1\.share\.bits: .*valid integer"),
        (RULE % "share: {bits: 2.5}", r"rules\.1\.share\.bits: .*valid integer"),
        (RULE % "share: {bits: 3, init: zero}", r"share\.init: unknown init 'zero'; known are linear, density, random"),
        (RULE % "share: {bits: 3, codebook_grid: int4}", r"share\.codebook_grid: .*'int8' or 'int16'"),
        (RULE % "share: {bits: 3, codebook_grid: 8}", r"share\.codebook_grid: .*'int8' or 'int16'"),
        (RULE % "encode: {coder: zip}", r"encode\.coder: unknown coder 'zip'; known are raw"),
        (RULE % "encode: {gap_bits: 17}", r"encode\.gap_bits: "),
        (RULE % "where: x", r"rules\.1\.where: .*callable"),
    ],
)
def test_a_mistake_is_named_with_file_and_place(load, text, message):
    with pytest.raises(ValueError, match=rf"recipe\.yaml: .*{message}"):
        load(text)


def test_all_mistakes_are_named_at_once(load):
    with pytest.raises(ValueError, match=r"rules\.1\.share\.bits: .*; rules\.2\.x: unknown key"):
        load("rules: [{module: a, share: {bits: 9}}, {module: b, x: 1}]")


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Recipe(rules=()).seed = 3


# selection


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


# explanation


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


def test_presets_are_valid_yaml_with_their_own_name():
    for name, file in Recipe.presets().items():
        assert yaml.safe_load(file.read_text())["name"] == name


def test_safe_presets_change_weights_little_and_the_smaller_one_takes_fewer_bytes(tmp_path):
    """The relative squared error of weights of a typical network, many small and few large."""
    weights = np.random.Generator(np.random.PCG64(0)).laplace(size=(200, 300)).astype(np.float32)
    tensors = {"fc.weight": DenseTensor.from_numpy(weights)}
    found = {}
    for name in ("share-8bit", "share-smaller"):
        shared = compress_tensors(tensors, Recipe.load(name))
        dc.save_tensors(tmp_path / "m.dcz", shared)
        error = np.square(shared["fc.weight"].numpy() - weights).sum() / np.square(weights).sum()
        found[name] = float(error), (tmp_path / "m.dcz").stat().st_size
    (exact, large), (rough, small) = found["share-8bit"], found["share-smaller"]
    assert exact < rough < 0.002
    assert small < 0.85 * large < weights.nbytes / 4


def test_rules_by_type_are_refused_on_a_checkpoint_even_if_optional():
    checkpoint = {"fc.weight": DenseTensor.from_numpy(np.ones((2, 2), np.float32))}
    with pytest.raises(ValueError, match="selects by type, which only a model has"):
        Recipe.load("paper").matches(checkpoint)


def test_a_rule_by_type_on_a_model_without_tensors_matches_nothing():
    with pytest.raises(ValueError, match=r"rule 1 \(type: Linear\) matches nothing.*; there are no weights"):
        dc.prune(nn.Identity(), Recipe(rules=[Rule(type="Linear", share=SHARE)]))


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
