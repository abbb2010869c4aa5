"""Layers that dc.run keeps dense and models that it refuses, always with the layer's name and a reason."""

import json

import numpy as np
import pytest
import torch
from running_models import compressed, floats, linear, mlp, saved
from torch import nn

import deepcompression as dc
from deepcompression import _core


class OwnForward(nn.Linear):
    def forward(self, x):
        return x @ (self.weight / self.weight.norm()).t()


def kept(model, **options):
    """The reason why the weight of a single layer is kept dense."""
    small = dc.run(model, **options)
    (row,) = dc.explain(small).rows
    assert not row.packed
    assert row.bytes == row.dense_bytes
    return row.why


def test_layers_that_do_not_pay_stay_dense_with_the_reason():
    assert "fewer than 4,096" in kept(linear(50, 60))
    assert "256 values" in kept(nn.Linear(80, 96))
    assert "float64" in kept(linear().double())
    assert "dense= names it" in kept(linear(), dense=["weight"])
    assert "forward of its own" in kept(compressed(OwnForward(80, 96)))
    assert "ConvTranspose2d" in kept(compressed(nn.ConvTranspose2d(32, 32, 3)))
    assert "max_norm" in kept(compressed(nn.Embedding(100, 64, max_norm=1.0)))


def test_a_weight_that_takes_more_bytes_packed_stays_dense():
    uneven = nn.Linear(4096, 1)
    with torch.no_grad():
        uneven.weight.copy_(torch.arange(4096).remainder(3).view(1, -1) + 1)
    assert "packed it would take" in kept(uneven.half())


def test_an_explanation_prints_and_is_json():
    small = dc.run(mlp())
    found = dc.explain(small)
    text = str(found)
    for part in ("0.weight", "window", "float32", "dense", _core.instruction_set(), "fewer than 4,096 weights"):
        assert part in text
    data = json.loads(json.dumps(found.to_dict()))
    assert [row["names"] for row in data["rows"]] == [["0.weight"], ["3.weight"], ["5.weight"]]
    assert data["bytes"] == sum(row["bytes"] for row in data["rows"]) < data["dense_bytes"]
    first = found.rows[0]
    assert first.bytes == small[0].weight.packed.numel()
    assert first.dense_bytes == 96 * 80 * 4
    assert first.density == pytest.approx(0.1, abs=0.01)
    assert 1 <= first.centroids <= 16
    assert first.module == "Linear"


def test_weights_that_never_met_run_are_explained_too():
    (row,) = dc.explain(nn.Linear(3, 4)).rows
    assert row.why == "it was not given to dc.run"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"linear": ["nothing"]}, "linear='nothing' matches no parameter"),
        ({"linear": ["weight"]}, r"linear='weight' matches no parameter .*: '\*.weight' matches 0.weight"),
        ({"dense": ["0.bias*", "x"]}, "dense='x' matches no parameter"),
        ({"linear": ["0.bias"]}, r"matches 0.bias, whose shape is \[96\]"),
        ({"activations": "int4"}, "activations are float32 or int8"),
        ({"batch": 0}, "batch is a number"),
        ({"batch": True}, "batch is a number"),
        ({"batch": 1.5}, "batch is a number"),
        ({"batch": 10**30}, "batch is a number of vectors, from 1 to"),
        ({"prefer": "speed"}, "prefer is time or memory; found 'speed'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        dc.run(mlp(), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"linear": None}, "linear is a list of patterns; found None"),
        ({"dense": [3]}, r"dense is a list of patterns; found \[3\]"),
        ({"tune": "yes"}, "tune is True or False; found 'yes'"),
        ({"strict": "x"}, "strict is True or False; found 'x'"),
    ],
)
def test_options_of_another_type_are_refused(options, message):
    with pytest.raises(TypeError, match=message):
        dc.run(mlp(), **options)


def test_a_number_of_numpys_is_a_number():
    assert dc.run(mlp(), batch=np.int64(8), tune=np.bool_(False)) is not None


def test_an_explanation_is_printed_and_says_whose_times_it_has(capsys):
    small = dc.run(nn.Sequential(nn.Linear(64, 96)))
    capsys.readouterr()
    found = dc.explain(small)
    printed = " ".join(capsys.readouterr().out.split())
    assert printed == " ".join(str(found).split())
    assert "0.weight" in printed
    assert "Times are expected ones for so many vectors at once" in printed
    assert repr(found).startswith("<1 weight, 24,576 bytes held")


def test_an_explanation_never_cuts_a_name():
    name = "a_module_of_a_very_long_name_" * 8
    text = str(dc.explain(nn.ModuleDict({name: nn.Linear(64, 96)})))
    assert name[:40] in text
    assert "…" not in text


def test_things_of_another_type_are_refused():
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        dc.run({"weight": torch.zeros(3)})
    with pytest.raises(TypeError, match=r"linear is a list of patterns; found '\*': write linear=\['\*'\]"):
        dc.run(mlp(), linear="*")


def test_a_file_that_does_not_fit_is_refused(tmp_path):
    path = saved(mlp(), tmp_path)
    with pytest.raises(ValueError, match=r"0\.weight is \[96, 80\] of F32 in the file, \[96, 81\] of F32 in the model"):
        dc.run(nn.Sequential(nn.Linear(81, 96)), path)
    with pytest.raises(ValueError, match=r"0\.weight .* of BF16 in the model"):
        dc.run(mlp().bfloat16(), path)
    with pytest.raises(ValueError, match="not in the model"):
        dc.run(nn.Sequential(nn.Linear(80, 96)), path)
    with pytest.raises(dc.FormatError, match="limit"):
        dc.run(mlp(), path, limit_bytes=10)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(dc.FormatError, match="cut off"):
        dc.run(mlp(), path)


def test_tensors_without_memory_that_no_file_holds_are_named(tmp_path):
    with pytest.raises(ValueError, match="weight has no memory"):
        dc.run(nn.Linear(80, 96, device="meta"))
    model = linear()
    path = saved(model, tmp_path)
    model.register_buffer("scratch", torch.zeros(2, device="meta"), persistent=False)
    with pytest.raises(ValueError, match=r"^scratch: no memory .* build the model with buffers in memory"):
        dc.run(model, path)


def test_a_running_model_is_not_saved_as_a_file(tmp_path):
    small = dc.run(nn.Sequential(linear()))
    with pytest.raises(
        ValueError, match=r"0\.weight is packed by dc\.run .*: save the model that was passed to dc\.run"
    ):
        dc.save(small, tmp_path / "m.dcz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        lambda small, path: dc.prune(small, "paper"),
        lambda small, path: dc.share(small, "share-8bit"),
        lambda small, path: dc.calibrate(small, "share-8bit", [floats(2, 80)]),
        lambda small, path: dc.Recipe.load("share-8bit").explain(small),
        lambda small, path: dc.plan(small, target_ratio=2),
        lambda small, path: dc.load(path, into=small),
        lambda small, path: dc.load(path, into=small, strict=False),
        lambda small, path: dc.run(small, path),
        lambda small, path: dc.finalize(small),
    ],
)
def test_a_running_model_is_not_changed(change, tmp_path):
    """It has no dense weights: a stage would pass them over, and `finalize` would give back what it got."""
    model = nn.Sequential(linear())
    path = saved(model, tmp_path)
    with pytest.raises(ValueError, match=r"0\.weight is packed by dc\.run .* the model that was passed to dc\.run"):
        change(dc.run(model), path)


def test_ties_of_the_model_that_differ_in_the_file_are_refused(tmp_path):
    path = saved(nn.Sequential(linear(80, 80), compressed(nn.Linear(80, 80))), tmp_path)
    tied = nn.Sequential(nn.Linear(80, 80), nn.Linear(80, 80))
    tied[1].weight = tied[0].weight
    with pytest.raises(ValueError, match=r"0\.weight and 1\.weight are tied in the model, but differ"):
        dc.run(tied, path)


def test_ties_of_the_file_alone_are_no_ties(tmp_path):
    layer = linear(80, 80)
    path = saved(nn.Sequential(layer, layer), tmp_path)
    small = dc.run(nn.Sequential(nn.Linear(80, 80), nn.Linear(80, 80)), path)
    x = floats(1, 80)
    assert torch.equal(small[0](x), small[1](x))
    assert small[0].weight is not small[1].weight


def test_an_instruction_set_that_the_cpu_lacks_is_refused():
    with pytest.raises(ValueError, match="no_such_set"):
        _core.force_instruction_set("no_such_set")


def test_every_instruction_set_computes_and_is_named(instruction_set):
    model = mlp()
    x = floats(5, 80)
    small = dc.run(model)
    assert dc.explain(small).rows[0].instruction_set == instruction_set
    assert torch.allclose(small(x).detach(), model(x).detach(), atol=1e-5)
