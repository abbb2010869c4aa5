"""The effect of a compression: its words and numbers, its place in metadata, warnings with the names of layers."""

import json
import math

import pytest

from deepcompression.file.effect import KEY, Effect, OutputsChange, WeightChange

CHANGE = OutputsChange(0.0123, 51, True, {"logits": 0.01, "größe": 0.5})


def test_the_metadata_give_back_the_change():
    assert OutputsChange.of(CHANGE.metadata()) == CHANGE
    broken = OutputsChange(math.inf, 1, False, {"y": math.inf})
    assert OutputsChange.of(broken.metadata()) == broken


@pytest.mark.parametrize("change", [0.0, 1e-200, 3e-9, 0.999999, 12.0, 1e40, math.inf])
def test_the_metadata_take_the_same_bytes_for_every_change(change):
    other = OutputsChange(change, CHANGE.inputs, CHANGE.held_back, dict.fromkeys(CHANGE.by_output, change))
    assert len(other.metadata()[KEY]) == len(CHANGE.metadata()[KEY])


@pytest.mark.parametrize(
    "text",
    [
        *("", "no JSON", "3", "{}", '{"change": 0.1}'),
        '{"change": "much", "inputs": 3, "held_back": true, "by_output": {}}',
        '{"change": NaN, "inputs": 3, "held_back": true, "by_output": {}}',
        '{"change": -1, "inputs": 3, "held_back": true, "by_output": {}}',
        '{"change": 0.1, "inputs": 0, "held_back": true, "by_output": {}}',
    ],
)
def test_metadata_of_others_are_no_change(text):
    assert OutputsChange.of({KEY: text}) is None
    assert OutputsChange.of({}) is None


def test_the_words_say_what_was_measured():
    assert str(Effect(outputs=CHANGE)).splitlines() == [
        "change of the outputs: 0.0123, measured on 51 inputs held back from calibration",
        "by output: logits 0.01, größe 0.5",
    ]
    alone = str(Effect(outputs=OutputsChange(0.1, 1, False, {"y": 0.1})))
    assert "measured on the calibration inputs themselves (1 input)" in alone
    weights = Effect((WeightChange("a", 0.3, 1.0), WeightChange("b", 0.4, 1.0)))
    assert str(weights).startswith("change of the weights: 0.3536 ")
    assert weights.change_of_outputs is None
    assert weights.to_dict()[KEY] is None
    assert weights.to_dict()["change_of_weights"] == pytest.approx(math.sqrt(0.125))


def test_json_has_no_infinite_numbers():
    found = Effect(outputs=OutputsChange(math.inf, 3, True, {"y": math.inf})).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False))[KEY] is None
    assert "the model is broken" in found["warnings"][0]


def test_a_small_change_needs_no_warning():
    weights = (WeightChange("a", 0.9, 0.04, 1.0), WeightChange("b", 0.0, 1.0, 0.0))
    assert Effect(weights, OutputsChange(0.1, 9, True, {"y": 0.1})).warnings == []
    assert Effect((WeightChange("a", 0.3, 0.5),)).warnings == []


def test_a_large_change_of_the_outputs_names_the_layers_it_comes_from():
    weights = (WeightChange("a", 0.2, 1.0, 0.28), WeightChange("b", 0.5, 1.0, 0.7), WeightChange("c", 0.1, 1.0, 0.02))
    (warning,) = Effect(weights, OutputsChange(0.44, 9, True, {"y": 0.44})).warnings
    assert warning.startswith("the outputs changed by more than 0.1: 0.44; ")
    assert warning.endswith("most by b (70 % of the change), a (28 % of the change)")


def test_one_output_that_is_lost_is_named_though_all_together_are_well():
    (warning,) = Effect((), OutputsChange(0.001, 9, True, {"large": 0.001, "small": 0.6})).warnings
    assert "small 0.6" in warning
    assert "large" not in warning


@pytest.mark.parametrize("outputs", [None, OutputsChange(0.01, 9, True, {"y": 0.01})])
def test_layers_that_keep_few_weights_are_named(outputs):
    weights = (WeightChange("fc1", 0.2, 0.0023, 0.0), WeightChange("fc2", 0.2, 0.0, 0.0), WeightChange("fc3", 0.2, 0.1))
    (warning,) = Effect(weights, outputs).warnings
    assert "fc2 keeps 0 %, fc1 keeps 0.23 %;" in warning
    assert "fc3" not in warning


def test_without_inputs_the_weights_own_change_counts():
    (warning,) = Effect((WeightChange("fc1", 0.31, 0.5), WeightChange("fc2", 0.98, 0.5))).warnings
    assert warning.startswith("weights changed by more than 0.3 of themselves: fc2 0.98, fc1 0.31; ")
    assert "outputs changed" not in warning
