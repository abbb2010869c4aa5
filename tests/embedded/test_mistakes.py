"""Every mistake meets an error that says what and how to go on, and nothing is written."""

import re

import numpy as np
import pytest
from board_networks import inputs_of, network
from onnx_boards import floats, model, node
from torch import nn

import deepcompression as dc
from deepcompression.checkpoint import open_checkpoint
from deepcompression.embedded.device_sources import needed_sources

SMALL = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
MANY = floats(20, 8)


def refused(words, *arguments, error=ValueError, **options):
    with pytest.raises(error, match=re.escape(words)):
        dc.export(*arguments, **options)


@pytest.mark.parametrize(
    ("inputs", "options", "error", "words"),
    [
        (MANY, {"weights": "dense"}, ValueError, "unknown way to hold weights 'dense'; known are coded, packed"),
        (MANY, {"packed": ["fc*"]}, ValueError, "no weight has a name like 'fc*'; the names are 0.weight, 2.weight"),
        (MANY, {"vectors": 0}, ValueError, "a test needs a vector at least"),
        (MANY, {"input_shape": [1, 8]}, ValueError, "a torch model is traced with inputs"),
        (None, {}, ValueError, "a torch model is traced with inputs"),
        (MANY[:3], {"int8": True}, ValueError, "int8 needs calibration inputs, 4 at least, better hundreds; found 3"),
        (np.arange(8)[None], {}, TypeError, "inputs are floats; found int64"),
        (np.float32(1), {}, ValueError, "an array whose first axis counts them; found the shape []"),
        (MANY[:0], {}, ValueError, "an array whose first axis counts them; found the shape [0, 8]"),
        (np.where(MANY > 1, np.nan, MANY), {}, ValueError, "values that are not finite in float32: mend them"),
        (np.full((20, 8), 1e300), {}, ValueError, "have 160 values that are not finite in float32"),
        ({"a": MANY, "b": MANY}, {}, ValueError, "takes one input; found the arrays a, b"),
        ({"wrong": MANY}, {}, ValueError, "the input of the network is input; found an array named wrong"),
        (floats(20, 7), {}, ValueError, "torch.export cannot trace the model"),
    ],
)
def test_mistakes_of_the_caller(inputs, options, error, words, tmp_path):
    refused(words, SMALL, inputs, tmp_path / "out", error=error, **options)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def onnx_file(tmp_path):
    path = tmp_path / "m.onnx"
    made = model([node("MatMul", ["x", "w"], "a"), node("Relu", ["a"], "y")], (1, 8), {"w": floats(8, 4)})
    path.write_bytes(made.SerializeToString())
    return path


def test_int8_without_calibration_is_refused_with_the_remedy(onnx_file, tmp_path):
    refused("found none: give typical inputs (--calibration INPUTS.npz)", onnx_file, None, tmp_path / "out", int8=True)


def test_inputs_of_another_shape_are_refused(onnx_file, tmp_path):
    refused("the inputs are [20, 7]; expected [count, 8] or [count, 1, 8]", onnx_file, floats(20, 7), tmp_path / "out")


def test_inputs_may_have_the_batch_axis_and_the_name(onnx_file, tmp_path):
    for number, inputs in enumerate(({"x": MANY}, {"arr_0": MANY[:, None]}, [MANY])):
        assert dc.export(onnx_file, inputs, tmp_path / str(number), int8=True).outputs.inputs == 4


def test_without_inputs_the_test_runs_random_ones_and_it_is_said(onnx_file, tmp_path):
    result = dc.export(onnx_file, None, tmp_path / "out")
    assert "no inputs were given: the test runs random ones" in result.notes


def test_a_file_without_a_graph_is_refused_with_both_remedies(tmp_path):
    dc.save(SMALL, tmp_path / "m.dcz")
    words = "holds tensors without a graph, so nothing says how to run them: make the file of an ONNX model"
    refused(words, tmp_path / "m.dcz", None, tmp_path / "out")
    refused("give it, filled by dc.load, to dc.export", tmp_path / "m.dcz", None, tmp_path / "out")


def test_a_damaged_file_is_refused(onnx_file, tmp_path):
    with open_checkpoint(onnx_file) as source:
        dc.compress_checkpoint(source, tmp_path / "m.dcz")
    data = bytearray((tmp_path / "m.dcz").read_bytes())
    data[-1] ^= 1
    (tmp_path / "m.dcz").write_bytes(data)
    refused("is damaged", tmp_path / "m.dcz", None, tmp_path / "out", error=dc.FormatError)


def test_weights_that_are_not_finite_are_refused_with_the_layer(tmp_path):
    bad = nn.Linear(8, 2)
    bad.weight.data[0, 0] = float("nan")
    refused("linear: the weights weight are not all finite", bad, MANY, tmp_path / "out")


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_other_constants_that_are_not_finite_are_refused_with_the_layer(bad, int8, tmp_path):
    layer, norm = nn.Linear(8, 2), nn.BatchNorm1d(8).eval()
    layer.bias.data[0] = norm.running_mean[3] = bad
    refused("linear: the biases are not all finite", layer, MANY, tmp_path / "out", int8=int8)
    refused("batch_norm: the offsets are not all finite", norm, MANY, tmp_path / "out", int8=int8)


@pytest.mark.parametrize("int8", [False, True])
def test_outputs_that_are_not_finite_are_refused(int8, tmp_path):
    layers = [nn.Linear(8, 8, bias=False), nn.Linear(8, 2, bias=False)]
    for each in layers:
        each.weight.data *= 1e30
    refused("infinite or no number", nn.Sequential(*layers).eval(), MANY, tmp_path / "out", int8=int8)


def test_a_softmax_beyond_its_sum_is_refused_in_int8(tmp_path):
    refused("softmax: a softmax of 40000 numbers", nn.Softmax(1), floats(5, 40000), tmp_path / "out", int8=True)


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (nn.Conv1d(1, 1, 300), (1, 400), "conv1d: 1x1x400 -> 1x1x101, kernel 1x300, stride 1x1"),
        (nn.Conv1d(1, 1, 3, dilation=200), (1, 500), "dilation 1x200: boards take sizes up to 65535; strides"),
        (nn.MaxPool1d(2, stride=300), (1, 700), "max_pool1d: 1x1x700"),
        (nn.Conv1d(1, 1, 1), (1, 70000), "conv1d: 1x1x70000"),
    ],
)
def test_sizes_beyond_the_fields_of_a_board_are_refused_with_the_layer(layer, shape, words, tmp_path):
    refused(words, layer, floats(1, *shape), tmp_path / "out")


def test_a_row_too_long_for_packed_counts_is_refused_with_the_layer(tmp_path):
    wide = nn.Linear(70000, 1)
    wide.weight.data.fill_(0.5)
    refused(
        "linear: a row has 70000 pairs, and a count ends at 65535", wide, floats(1, 70000), tmp_path, weights="packed"
    )


def test_a_directory_with_other_files_is_left_alone_unless_forced(tmp_path):
    (tmp_path / "mine.c").write_text("int mine;\n")
    refused("holds other files, mine.c", SMALL, MANY, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.c"]
    dc.export(SMALL, MANY, tmp_path, force=True)
    assert (tmp_path / "mine.c").read_text() == "int mine;\n"
    refused("is no directory", SMALL, MANY, tmp_path / "mine.c")


def test_a_user_s_file_with_a_name_of_the_library_is_no_earlier_export(tmp_path):
    for name in ("patch.c", "net.c"):
        (tmp_path / name).write_text("int mine;\n")
    refused("holds other files, net.c, patch.c", SMALL, MANY, tmp_path, name="net")
    dc.export(SMALL, MANY, tmp_path, name="net", force=True)
    assert (tmp_path / "patch.c").read_text() == "int mine;\n"


def test_an_earlier_export_of_the_name_is_replaced_with_all_its_files(tmp_path):
    out = tmp_path / "out"
    dc.export(network("Cnn"), inputs_of("Cnn"), out, name="net")
    for built in ("a.out", "net.o"):
        (out / built).touch()
    result = dc.export(network("Gru"), inputs_of("Gru"), out, name="net", int8=True, weights="packed")
    assert {path.name for path in out.iterdir()} == {*result.files, "a.out", "net.o"}
    assert not (out / "net_weights.dcz").exists()
    refused("holds other files, net.c", SMALL, MANY, out, name="other")


def test_only_the_sources_that_a_network_calls_are_copied():
    assert needed_sources(["int x;"]) == {}
    found = needed_sources(['#include "nn.h"\nvoid f(void) { dcz_relu; dcz_max_pool_i8(0, 0, 0); }'])
    assert {"nn.h", "dcz.h", "nn_pool_i8.c"} <= set(found)
    assert not {"dcz.c", "rows.c", "nn_linear_i8.c"} & set(found)
    coded = needed_sources(["dcz_linear_i8_coded(0);"])
    assert {"rows.c", "dcz.c", "nn_linear_coded_i8.c", "rows.h"} <= set(coded)


def test_a_comment_that_names_a_function_takes_no_source():
    assert needed_sources(["/* dcz_gru_i8 */"]) == {}
