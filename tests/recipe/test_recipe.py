"""Recipes: reading and mistakes."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from models import make
from pydantic import ValidationError

import deepcompression as dc
from deepcompression import Encode, Gradual, Prune, Recipe, Rounds, Rule, Share
from deepcompression.coding.coders import CODERS
from deepcompression.convert.tensors import compress_tensors
from deepcompression.pruning.criteria import CRITERIA
from deepcompression.sharing.codebook import CODEBOOKS
from deepcompression.tensors.tensor import DenseTensor


@pytest.fixture
def load(tmp_path):
    def load(text: str | bytes) -> Recipe:
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return Recipe.load(path)

    return load


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
