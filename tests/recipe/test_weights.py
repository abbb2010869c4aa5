"""Weights: the tensors that patterns, densities and targets change, in models and checkpoints."""

import json
import warnings

import numpy as np
import onnx
import pytest
import torch
from commands import run
from onnx import helper
from onnx_models import OPSETS, raw, value
from torch import nn
from typer.testing import CliRunner

import deepcompression as dc
from deepcompression.checkpoint import write_tensors
from deepcompression.cli import app
from deepcompression.recipe.targets import targets_of
from deepcompression.tensors.tensor import DenseTensor

RNG = np.random.default_rng(0)
HALF = dc.Recipe(rules=(dc.Rule(module="*", prune=dc.Prune(density=0.5)),))
ALL = dc.Recipe(rules=(dc.Rule(tensor="*", prune=dc.Prune(density=0.5)),))


def floats(*shape, dtype="f4"):
    return RNG.standard_normal(shape).astype(dtype)


def tensors_of(arrays):
    return {name: DenseTensor.from_numpy(array) for name, array in arrays.items()}


def weights_of(model):
    return [target.name for target in targets_of(model) if target.weight]


def normed(layer, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(layer, **options)


class Norm(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))


class Scaled(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.fc, self.layer_scale = nn.Linear(8, 8), nn.Parameter(torch.ones(shape))


class Magnitudes(nn.Linear):
    def __init__(self, *shape):
        super().__init__(6, 8)
        self.magnitude = nn.Parameter(torch.ones(shape))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (normed(nn.Conv1d(16, 32, 3)), ["weight_v"]),
        (normed(nn.Conv1d(16, 32, 3), dim=1), ["weight_v"]),
        (normed(nn.Linear(16, 32)), ["weight_v"]),
        (normed(nn.Linear(1, 32)), ["weight_v"]),
        (nn.LayerNorm([4, 5]), []),
        (nn.RMSNorm([4, 5]), []),
        (Norm(4, 5, 6), []),
        (Norm(1, 64, 1, 1), []),
        (Scaled(8, 1, 1), ["fc.weight"]),
        (Scaled(1, 1, 8), ["fc.weight"]),
        (Magnitudes(8, 1), ["weight"]),
        (Magnitudes(1, 6), ["weight"]),
        (nn.PReLU(40), []),
        # layers of one input or one output
        (nn.Linear(1, 32), ["weight"]),
        (nn.Linear(32, 1), ["weight"]),
        (nn.Conv2d(64, 1, 1), ["weight"]),
        (nn.Conv1d(32, 32, 3, groups=32), ["weight"]),
        (nn.LSTM(1, 16), ["weight_ih_l0", "weight_hh_l0"]),
        (nn.BatchNorm2d(32), []),
    ],
)
def test_what_scales_element_by_element_is_no_weight(model, expected):
    assert weights_of(model) == expected
    # a checkpoint of the same model, for all but modules that only their class tells apart
    if not isinstance(model, nn.RMSNorm):
        state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        assert weights_of(tensors_of(state)) == expected


def test_lengths_of_weight_norm_keep_their_values_by_type_and_by_density(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = nn.Sequential(normed(nn.Conv1d(16, 32, 3)))
    new = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv1d(16, 32, 3)))
    states = model.state_dict() | {f"new.{name}": tensor for name, tensor in new.state_dict().items()}
    write_tensors("m.safetensors", tensors_of({name: tensor.numpy() for name, tensor in states.items()}), {})
    done = run("compress m.safetensors -o m.dcz --density 0.3 --json")
    notes = json.loads(done[1])["notes"]
    lengths = ["0.weight_g", "new.0.parametrizations.weight.original0"]
    assert sorted(notes) == [f"{n} scales or shifts other values, element by element: stored as it is" for n in lengths]
    found = dc.load_tensors("m.dcz")
    changed = [name for name, tensor in states.items() if not np.array_equal(found[name], tensor.numpy())]
    assert changed == ["0.weight_v", "new.0.parametrizations.weight.original1"]
    dc.prune(model, dc.Recipe(rules=(dc.Rule(type="Conv1d", prune=dc.Prune(density=0.3)),)))
    model(torch.randn(1, 16, 8))
    assert (model[0].weight.flatten(1).abs().sum(1) > 0).all()


def test_an_elementwise_tensor_changes_where_its_name_is_given():
    tensors = tensors_of({"weight_g": floats(32, 1, 1), "weight_v": floats(32, 4, 3)})
    for name in ("weight_g", "*_g", "*"):
        rules = (dc.Rule(tensor=name, prune=dc.Prune(density=0.5)),)
        assert np.count_nonzero(dc.compress_tensors(tensors, dc.Recipe(rules=rules))["weight_g"].numpy()) == 16


CODES = {"fc.weight": RNG.integers(-99, 99, (64, 64), np.int8), "fc.scale": floats(64, 4), "head.weight": floats(8, 8)}


def test_packed_codes_are_known_in_every_collection_of_tensors(tmp_path):
    tensors = tensors_of(CODES)
    assert weights_of(tensors) == ["head.weight"]
    for recipe in (HALF, ALL):
        found = dc.compress_tensors(tensors, recipe)
        assert [name for name in tensors if found[name] is not tensors[name]] == ["head.weight"]
    assert [line.tensor for line in dc.plan(tensors, target_size=4096 + 1024 + 500).lines] == ["head.weight"]
    model = nn.Module()
    model.fc, model.head = nn.Module(), nn.Linear(8, 8)
    for name in ("weight", "scale"):
        model.fc.register_parameter(name, nn.Parameter(torch.from_numpy(CODES[f"fc.{name}"]), requires_grad=False))
    assert weights_of(model) == ["head.weight"]
    assert weights_of(model.to("meta")) == ["head.weight"]
    assert "keep: packed codes, or what belongs to them" in HALF.describe(model)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"tensor": "fc.scale"}, r"fc\.scale \(packed codes, or what belongs to them\)"),
        ({"tensor": "*.scale"}, r"rule 1 .* selects only what stays as it is: fc\.scale"),
        ({"tensor": "count"}, r"count \(none of F64, F32, F16, BF16\)"),
    ],
)
def test_a_rule_for_what_stays_as_it_is_is_refused_with_the_reason(rule, words):
    tensors = tensors_of(CODES | {"count": np.arange(9)})
    with pytest.raises(ValueError, match=words):
        dc.compress_tensors(tensors, dc.Recipe(rules=(dc.Rule(**rule, prune=dc.Prune(density=0.5)),)))


def test_a_rule_for_a_buffer_is_refused_with_the_reason():
    rule = dc.Rule(tensor="running_mean", prune=dc.Prune(density=0.5))
    with pytest.raises(ValueError, match=r"running_mean \(a buffer, which is not trained\)"):
        dc.prune(nn.BatchNorm1d(8), dc.Recipe(rules=(rule,)))


CAUSAL = np.triu(np.ones((24, 24), bool), 1)


def mask_of(low, dtype="f4"):
    return np.where(CAUSAL, low, 0).astype(dtype)


MASKS = {
    "the lowest": mask_of(np.finfo("f4").min),
    "-1e30": mask_of(-1e30),
    "-1e9": mask_of(-1e9),
    "the lowest half": mask_of(-65504, "f2"),
    "infinite": mask_of(-np.inf),
    "ones": np.tril(np.ones((1, 1, 24, 24), "f4")),
    "constant": np.full((24, 24), 3.5, "f4"),
    "small": mask_of(1e-45),
    "in float64": mask_of(-1e300, "f8"),
    "NaN": mask_of(np.nan),
}
WAYS = ["--density 0.3", "--bits 1", "--recipe share-8bit", "--recipe share-smaller", "--target-ratio 6"]


@pytest.mark.parametrize("way", WAYS)
def test_masks_are_kept_and_said_whatever_is_demanded(way, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = {f"{name}.mask": mask for name, mask in MASKS.items()} | {"fc.weight": floats(128, 128)}
    write_tensors("m.safetensors", tensors_of(arrays), {})
    code, out, error = run(f"compress m.safetensors -o m.dcz --json {way}")
    assert code == 0, error
    notes = json.loads(out)["notes"]
    assert sorted(note.split(".mask ")[0] for note in notes) == sorted(MASKS)
    assert all(note.endswith(": stored as it is") for note in notes)
    found = dc.load_tensors("m.dcz")
    assert [name for name, array in arrays.items() if found[name].tobytes() != array.tobytes()] == ["fc.weight"]


def test_plans_and_curves_leave_out_what_is_no_weight_and_say_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = {"attn.mask": mask_of(-np.inf), "attn.ones": MASKS["ones"], "scale.g": floats(9, 1, 1)}
    write_tensors("m.safetensors", tensors_of(arrays | {"fc.weight": floats(64, 64)}), {})
    plan = dc.plan(tensors_of(arrays | {"fc.weight": floats(64, 64)}), target_ratio=5)
    assert [line.tensor for line in plan.lines] == ["fc.weight"]
    assert len(plan.notes) == 3
    assert "attn.mask has 276 weights that are NaN, infinite or beyond float32: stored as it is" in str(plan)
    for line in ("plan m.safetensors --target-ratio 5", "sensitivity m.safetensors"):
        code, out, _ = run(f"{line} --json")
        assert code == 0
        assert {each["tensor"] for each in json.loads(out)["tensors"]} == {"fc.weight"}
        assert len(json.loads(out)["notes"]) == 3
        printed = CliRunner().invoke(app, line.split()).output
        assert "attn.ones has at most two distinct values" in printed


FAR = {
    "three values": np.where(np.tri(24) > 0, 0, np.where(np.eye(24, k=2) > 0, -1e4, -3.4e38)),
    "biases of positions": np.where(np.tri(24) > 0, -0.5 * np.abs(np.arange(24) - np.arange(24)[:, None]), -1e9),
    "both signs": np.where(np.eye(24) > 0, 65504, np.where(np.eye(24, k=1) > 0, -65504, floats(24, 24))),
}


@pytest.mark.parametrize("kind", FAR)
@pytest.mark.parametrize("way", ["--density 0.5", "--recipe share-8bit", "--bits 4", "--target-ratio 5"])
def test_a_mask_filled_with_values_far_from_its_others_is_kept_and_said(way, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = {"attn.mask": FAR[kind].astype("f4"), "fc.weight": floats(64, 64)}
    write_tensors("m.safetensors", tensors_of(arrays), {})
    code, out, error = run(f"compress m.safetensors -o m.dcz --json {way}")
    assert code == 0, error
    assert any("attn.mask is filled with values of" in note for note in json.loads(out)["notes"])
    found = dc.load_tensors("m.dcz")
    assert found["attn.mask"].tobytes() == arrays["attn.mask"].tobytes()
    assert found["fc.weight"].tobytes() != arrays["fc.weight"].tobytes()


def test_outliers_and_ternary_weights_are_weights():
    outlier, ternary = floats(24, 24), np.sign(floats(24, 24)) * (np.abs(floats(24, 24)) > 1)
    outlier[3, 4] = 1e5
    tensors = tensors_of({"a.weight": outlier, "b.weight": ternary.astype("f4")})
    made = dc.compress_tensors(tensors, HALF)
    assert np.count_nonzero(made["a.weight"].numpy()) == 288
    assert np.count_nonzero(made["b.weight"].numpy()) <= 288


def test_a_mask_that_is_named_is_a_weight():
    tensors = tensors_of({"attn.mask": MASKS["ones"], "fc.weight": floats(8, 8)})
    rules = (dc.Rule(tensor="attn.mask", prune=dc.Prune(density=0)),)
    assert not dc.compress_tensors(tensors, dc.Recipe(rules=rules))["attn.mask"].numpy().any()


def test_a_parameter_of_a_model_is_a_weight_whatever_its_values():
    model = nn.Linear(8, 8)
    nn.init.ones_(model.weight)
    dc.prune(model, HALF)
    assert int((model.weight != 0).sum()) == 32


def test_buffers_of_a_model_are_no_weights_of_its_plan():
    model = nn.Sequential(nn.Linear(32, 32))
    model.register_buffer("mask", torch.from_numpy(mask_of(-np.inf)))
    model.register_buffer("table", torch.randn(40, 40))
    assert [line.tensor for line in dc.plan(model, target_ratio=1.2).lines] == ["0.weight"]
    assert {line.tensor for line in dc.sensitivity(model)} == {"0.weight"}
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"0\.weight has 1 weight that .*; mend the training"):
        dc.plan(model, target_ratio=1.2)


@pytest.mark.parametrize("scale", [1e-50, 1e-200, 1e-30, 1.0, 1e15, 3e37])
def test_weights_of_any_size_are_shared_alike(scale):
    weight = floats(64, 64, dtype="f8")
    for share in (dc.Share(bits=3, init="optimal"), dc.Share(bits=4), dc.Share(penalty=0.01)):
        recipe = dc.Recipe(rules=(dc.Rule(module="*", share=share),))
        for sign in (1, -1):
            tensors = tensors_of({"a.weight": weight * scale * sign, "b.weight": weight})
            found = dc.compress_tensors(tensors, recipe)
            expected = found["b.weight"].numpy() * scale * sign
            assert np.allclose(found["a.weight"].numpy(), expected, rtol=1e-2, atol=abs(scale) * 1e-2)
    plan = dc.plan(tensors_of({"a.weight": weight * scale, "b.weight": weight}), target_ratio=8)
    assert abs(plan.lines[0].change - plan.lines[1].change) < 0.01
    assert 0 < plan.effect.change_of_weights < 0.5


@pytest.mark.parametrize("inputs", [None, [torch.zeros(4, 16, 8), torch.ones(4, 16, 8)]])
def test_a_plan_of_a_model_says_what_is_elementwise(inputs):
    plan = dc.plan(nn.Sequential(normed(nn.Conv1d(16, 32, 3))), inputs, target_ratio=3)
    assert [line.tensor for line in plan.lines] == ["0.weight_v"]
    assert plan.notes == ("0.weight_g scales or shifts other values, element by element: stored as it is",)


def test_weights_too_small_for_a_grid_are_refused():
    recipe = dc.Recipe(rules=(dc.Rule(module="*", share=dc.Share(bits=3, codebook_grid="int8")),))
    with pytest.raises(ValueError, match="too small for a codebook on a grid"):
        dc.compress_tensors(tensors_of({"a.weight": floats(8, 8, dtype="f8") * 1e-50}), recipe)


def test_an_onnx_model_keeps_its_masks_with_inputs_and_without(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tensors = [
        raw("a", floats(64, 24)),
        raw("mask", mask_of(-np.inf)),
        raw("table", mask_of(-1e9)),
        raw("i", np.arange(24)),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Add", ["h", "mask"], ["s"]),
        helper.make_node("Gather", ["table", "i"], ["t"]),
        helper.make_node("Add", ["s", "t"], ["u"]),
        helper.make_node("Softmax", ["u"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [value("x", ("n", 24, 64))], [value("y", ("n", 24, 24))], tensors)
    onnx.save(helper.make_model(graph, opset_imports=OPSETS, ir_version=8), "m.onnx")
    np.savez("x.npz", x=floats(4, 24, 64))
    for way in ("--density 0.5", "--recipe share-smaller", "--target-ratio 5"):
        for inputs in ("", " --calibration x.npz"):
            code, out, error = run(f"compress m.onnx -o m.dcz --json {way}{inputs}")
            assert code == 0, error
            said = " ".join(json.loads(out)["notes"])
            assert "mask" in said
            assert "table has at most two distinct values" in said
            found = dc.load_tensors("m.dcz")
            before = {each.name: onnx.numpy_helper.to_array(each) for each in tensors[:3]}
            assert [n for n, array in before.items() if found[n].tobytes() != array.tobytes()] == ["a"]
