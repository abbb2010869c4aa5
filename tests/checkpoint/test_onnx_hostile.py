"""ONNX models that are not sound, and tensors that are not theirs."""

import numpy as np
import pytest
from cases import content, dense
from onnx import TensorProto, helper
from onnx_models import MODELS, back, chain, model_of, raw, save, weights

from deepcompression.checkpoint import GRAPH, open_checkpoint, read_tensors, write_checkpoint, write_tensors
from deepcompression.common import binary
from deepcompression.common.binary import FormatError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def test_two_tensors_of_one_name_are_refused(path):
    twice = [raw("w", weights((8, 8))), raw("w", weights((8, 8), 1))]
    path.write_bytes(model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], twice).SerializeToString())
    with pytest.raises(FormatError, match="a graph in it has two tensors of the name w"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (TensorProto(name="w", data_type=1, dims=[8, 8]), "'w': it has no data"),
        (TensorProto(name="w", data_type=1, dims=[8, 8], raw_data=bytes(9)), "'w': it has 9 bytes, expected 256"),
        (TensorProto(name="w", data_type=1, dims=[8, 8], raw_data=bytes(128)), "'w': it has 128 bytes"),
        (TensorProto(name="w", data_type=1, dims=[8, 8], float_data=[1.0] * 65), "'w': its data are not .* 65"),
        (TensorProto(name="w", data_type=1, dims=[80, 80], raw_data=bytes(25596)), "'w': it has 25596 bytes, expected"),
        (TensorProto(name="w", data_type=1, dims=[80, 80], float_data=[1.0] * 6401), "'w': its data are not .* 6401"),
    ],
)
def test_data_that_do_not_fit_their_shape_are_refused(tensor, words, path):
    path.write_bytes(model_of([helper.make_node("Identity", ["x"], ["y"])], [tensor]).SerializeToString())
    with pytest.raises(FormatError, match=f"model.onnx: not a sound ONNX model: tensor {words}"):
        open_checkpoint(path)


def test_every_truncation_is_refused_or_gives_tensors_of_the_model(path):
    """A message that ends between two fields is a message: its rest may be read, and never more."""
    save(chain(), path)
    whole = path.read_bytes()
    tensors, _ = read_tensors(path)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        try:
            found, _ = read_tensors(path)
        except FormatError:
            continue
        assert all(content(found[name]) == content(tensors[name]) for name in found if name != GRAPH)


@pytest.mark.parametrize("name", MODELS)
def test_spoilt_models_are_refused_or_written_as_they_are_read(name, path):
    """Whatever the bytes: a FormatError, or a model."""
    rng = np.random.default_rng(0)
    whole = bytearray(MODELS[name]().SerializeToString())
    for _ in range(60):
        data = whole.copy()
        for _ in range(rng.integers(1, 4)):
            at = rng.integers(min(len(data), 1500))
            data[at : at + rng.integers(3)] = rng.bytes(rng.integers(3))
        path.write_bytes(data)
        try:
            out = back(path)
        except FormatError:
            continue
        found, expected = read_tensors(out)[0], read_tensors(path)[0]
        assert {name: content(found[name]) for name in found} == {name: content(expected[name]) for name in expected}


@pytest.mark.parametrize("data", [b"", b"hello", bytes(100), b"\xff" * 100, b"\x3a\xff\xff\xff\xff\x7f", b"\x07"])
def test_what_is_no_model_is_refused(data, path):
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"model.onnx: not a sound ONNX model: "):
        open_checkpoint(path)


def test_graphs_within_graphs_without_end_are_refused(path):
    message = b"\x52" + binary.varint(5000) + bytes(5000)
    for tag in [b"\x32", b"\x2a", b"\x0a"] * 400:
        message = tag + binary.varint(len(message)) + message
    path.write_bytes(b"\x3a" + binary.varint(len(message)) + message)
    with pytest.raises(FormatError, match=r"model.onnx: not a sound ONNX model: it does not parse: "):
        open_checkpoint(path)


def test_tensors_that_are_not_those_of_the_graph_are_refused(path):
    save(chain(), path)
    tensors, metadata = read_tensors(path)
    out = path.with_name("out.onnx")
    less = {name: tensor for name, tensor in tensors.items() if name != "w1"}
    with pytest.raises(ValueError, match="the graph has a place for w1, but there are no such tensors"):
        write_tensors(out, less, metadata)
    with pytest.raises(ValueError, match="the graph has no place for w9"):
        write_tensors(out, tensors | {"w9": tensors["w1"]}, metadata)
    with pytest.raises(ValueError, match=r"w1 is \[8, 8\] of F64, in the graph \[8, 8\] of F32"):
        write_tensors(out, tensors | {"w1": dense("F64", (8, 8))}, metadata)
    with pytest.raises(FormatError, match="not the graph of an ONNX model"):
        write_checkpoint(out, {}, tensors.__getitem__, {}, b"\xff\xff")
    assert not out.exists()


def test_a_graph_without_its_tensors_is_no_model(path):
    save(chain(), path)
    path.write_bytes(read_tensors(path)[0][GRAPH].elements.tobytes())
    with pytest.raises(FormatError, match=r"w3 has its data taken out: it is the graph of a .dcz file, not a model"):
        open_checkpoint(path)
