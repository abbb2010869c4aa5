"""Networks exported, compiled under sanitizers and run: in int8 bit for bit as NumPy, in float32 to 1e-5."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from board_networks import NETWORKS, inputs_of, network, outputs_of
from device_c import BUILT, compile, run
from onnx_boards import floats

import deepcompression as dc
from deepcompression.embedded.fold import fold
from deepcompression.embedded.simulate_float import simulate_float
from deepcompression.embedded.torch_front import graph_of_torch
from tests.embedded.test_onnx_front import CASES


@pytest.fixture
def out(request):
    """A directory to export to, in the same place each time: the same files are compiled once."""
    directory = BUILT / "exports" / re.sub(r"\W+", "-", request.node.name)
    shutil.rmtree(directory, ignore_errors=True)
    return directory


def exported(name, directory, **options):
    return dc.export(network(name), inputs_of(name), directory, **options)


def build(directory):
    # the library's own tests compile with optimisation
    return compile(sorted(directory.glob("*.c")), [f"-I{directory}", "-O0", "-g0"], directory.name)


@pytest.mark.parametrize("weights", ["coded", "packed"])
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_c_computes_what_python_computes(name, int8, weights, out):
    result = exported(name, out, int8=int8, weights=weights)
    assert {each.way for each in result.layers} <= {weights}
    run(build(out))


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("name", ["GRU backward", "LSTM backward, last state"])
def test_c_runs_sequences_backward(name, int8, out, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(CASES[name].SerializeToString())
    dc.export(path, floats(8, 7, 1, 3), out, int8=int8, weights="packed")
    run(build(out))


def test_c_pools_a_whole_axis_longer_than_a_stride(out, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(CASES["GlobalAveragePool of a long axis"].SerializeToString())
    dc.export(path, floats(8, 1, 2, 1000), out, int8=True)
    run(build(out))


@pytest.mark.parametrize("int8", [False, True])
def test_c_copies_axes_backward(int8, out, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(CASES["Slice of several axes"].SerializeToString())
    dc.export(path, floats(8, 1, 4, 6, 5), out, int8=int8)
    run(build(out))


@pytest.mark.parametrize("name", NETWORKS)
def test_python_in_float32_computes_what_torch_computes(name):
    model, inputs = network(name), inputs_of(name)
    graph = fold(graph_of_torch(model, inputs[:1]))
    np.testing.assert_allclose(simulate_float(graph, inputs)[graph.output], outputs_of(model, inputs), atol=2e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_int8_changes_the_outputs_little(name, out):
    result = exported(name, out, int8=True)
    assert result.outputs is not None
    assert 0 < result.outputs.change < 0.08
    assert result.outputs.inputs == 5


def test_the_generated_test_finds_a_difference(out):
    exported("Gru", out, int8=True, weights="packed")
    source = out / "gru_test.c"
    before, outputs, after = source.read_text().partition("outputs[4][GRU_OUTPUT_SIZE] = {\n    {\n")
    source.write_text(before + outputs + re.sub(r"-?\d+", lambda found: str(int(found[0]) ^ 1), after, count=1))
    with pytest.raises(AssertionError, match="ends with 1"):
        run(build(out))


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for number in range(2):
        dc.export(network("Branches"), inputs_of("Branches"), tmp_path / str(number), int8=True, name="n")
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / each).iterdir()} for each in "01")
    assert first == second


def test_weights_are_packed_by_name(out):
    result = exported("Cnn", out, packed=["fc*"])
    assert {each.name: each.way for each in result.layers} == {
        **dict.fromkeys(("conv1.weight", "conv2.weight"), "coded"),
        **dict.fromkeys(("fc1.weight", "fc2.weight"), "packed"),
    }
    with dc.DczFile(out / "cnn_weights.dcz") as file:
        assert list(file) == ["conv1.weight", "conv2.weight"]
    run(build(out))


def test_the_array_is_the_file_and_codebooks_stay(tmp_path):
    dc.export(network("Cnn"), inputs_of("Cnn"), tmp_path / "out")
    text = (tmp_path / "out" / "cnn_weights.c").read_text()
    data = bytes(map(int, re.findall(r"\d+", text.partition("{")[2])))
    assert data == (tmp_path / "out" / "cnn_weights.dcz").read_bytes()
    with dc.DczFile(tmp_path / "out" / "cnn_weights.dcz") as file:
        own = network("Cnn").state_dict()
        assert {entry.coder for entry in file.entries.values()} == {"device"}
        for name in file:
            assert np.array_equal(file[name], own[name].numpy().reshape(len(own[name]), -1))


def test_the_header_states_the_sizes(tmp_path):
    result = dc.export(network("Cnn"), inputs_of("Cnn"), tmp_path / "out", int8=True, name="Net 1")
    header = (tmp_path / "out" / "net_1.h").read_text()
    constants = dict(re.findall(r"#define NET_1_(\w+) (.*)", header))
    assert int(constants["FLASH_BYTES"]) == result.flash_bytes
    assert int(constants["WEIGHTS_BYTES"]) == (tmp_path / "out" / "net_1_weights.dcz").stat().st_size
    assert (int(constants["ARENA_BYTES"]), int(constants["WORK_BYTES"])) == (result.arena_bytes, result.work_bytes)
    assert (constants["INPUT_SIZE"], constants["OUTPUT_SIZE"]) == ("144", "5")
    # the largest pair: 6 channels before and behind the pool
    assert result.arena_bytes == 2 * 6 * 12 * 12
    assert json.loads(json.dumps(result.to_dict()))["files"] == list(result.files)


def test_flash_is_the_sum_of_the_constant_arrays(tmp_path):
    sizes = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "float": 4}
    for weights in ("coded", "packed"):
        result = dc.export(network("Lstm"), inputs_of("Lstm"), tmp_path / weights, int8=True, weights=weights)
        text = "".join((tmp_path / weights / f"lstm{end}").read_text() for end in (".c", "_weights.c"))
        arrays = re.findall(r"const (\w+) \w+\[(\d+)\] = \{", text)
        assert sum(sizes[kind] * int(count) for kind, count in arrays if kind in sizes) == result.flash_bytes


@pytest.mark.parametrize(("name", "int8", "weights"), [("Cnn", True, "coded"), ("Gru", False, "packed")])
def test_a_work_buffer_of_four_bytes_less_is_refused(name, int8, weights, out):
    """The stated size is exact: the layer that needs most fails with less."""
    result = exported(name, out, int8=int8, weights=weights)
    source = out / f"{name.lower()}.c"
    text, changed = re.subn(rf"\b{result.work_bytes}\)", f"{result.work_bytes - 4})", source.read_text())
    assert changed
    source.write_text(text)
    with pytest.raises(AssertionError, match="ends with 2"):
        run(build(out))


def test_a_shared_model_and_a_loaded_one_give_the_same_files(tmp_path):
    model = network("Cnn", centroids=1 << 20)
    dc.share(model, dc.Recipe(rules=[dc.Rule(module="*", share=dc.Share(bits=4))]))
    dc.save(model, tmp_path / "m.dcz")
    torch.manual_seed(0)
    loaded = dc.load(tmp_path / "m.dcz", NETWORKS["Cnn"]().eval())
    for name, each in (("shared", model), ("loaded", loaded)):
        dc.export(each, inputs_of("Cnn"), tmp_path / name, name="n")
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / each).iterdir()} for each in ("shared", "loaded"))
    assert first == second
    with dc.DczFile(tmp_path / "shared" / "n_weights.dcz") as file:
        assert all(len(file.read(name).codebook) <= 16 for name in file)
