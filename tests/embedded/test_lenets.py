"""The paper's LeNets run on boards: from their files, and from an ONNX model."""

import re
import shutil
import warnings

import numpy as np
import pytest
import torch
from device_c import BUILT, ROOT, compile, run

import deepcompression as dc
from deepcompression.checkpoint import open_checkpoint
from deepcompression.embedded.fold import fold
from deepcompression.embedded.integer import integer_graph
from deepcompression.embedded.simulate_float import simulate_float
from deepcompression.embedded.simulate_int8 import simulate_int8
from deepcompression.embedded.torch_front import graph_of_torch
from reproduce.data import load_test
from reproduce.models import LeNet5, LeNet300100

RESULTS = ROOT / "reproduce" / "results"
LENETS = {"lenet-5": LeNet5, "lenet-300-100": LeNet300100}


def lenet(name):
    return dc.load(RESULTS / f"{name}.dcz", LENETS[name]()).eval()


@pytest.fixture(scope="module")
def digits():
    images = load_test()
    return images.pixels[:400].numpy(), images.labels[:400].numpy(), images.pixels[-64:].numpy()


@pytest.mark.parametrize("name", LENETS)
def test_a_lenet_classifies_as_in_torch(name, digits):
    pixels, labels, calibration = digits
    model = lenet(name)
    graph = fold(graph_of_torch(model, calibration[:1]))
    with torch.no_grad():
        exact = model(torch.from_numpy(pixels)).numpy()
    found = simulate_float(graph, pixels)[graph.output]
    np.testing.assert_allclose(found, exact, atol=1e-5 * np.abs(exact).max())
    assert np.array_equal(found.argmax(1), exact.argmax(1))
    integers = integer_graph(graph, calibration)
    q = simulate_int8(integers, integers.quantize(pixels))[graph.output]
    assert np.mean(q.argmax(1) == exact.argmax(1)) >= 0.99
    assert np.mean(q.argmax(1) == labels) >= 0.98


@pytest.mark.parametrize(("name", "flash", "memory"), [("lenet-5", 12_000, 14_400), ("lenet-300-100", 15_000, 900)])
def test_a_lenet_in_int8_runs_in_c_in_little_flash_and_memory(name, flash, memory, digits):
    out = BUILT / "exports" / name
    shutil.rmtree(out, ignore_errors=True)
    result = dc.export(lenet(name), digits[2], out, int8=True, name=name)
    assert result.flash_bytes <= flash
    assert result.memory_bytes <= memory
    run(compile(sorted(out.glob("*.c")), [f"-I{out}", "-O0", "-g0"], name))


def test_an_onnx_lenet_and_its_torch_model_give_the_same_weights_and_outputs(digits, tmp_path):
    with warnings.catch_warnings():
        # the exporter that needs no other package is the older one
        warnings.simplefilter("ignore")
        torch.onnx.export(
            lenet("lenet-5"), torch.zeros(1, 1, 28, 28), str(tmp_path / "m.onnx"), dynamo=False, input_names=["x"]
        )
    with open_checkpoint(tmp_path / "m.onnx") as source:
        dc.compress_checkpoint(source, tmp_path / "m.dcz")
    for name, model in (("onnx", tmp_path / "m.dcz"), ("torch", lenet("lenet-5"))):
        dc.export(model, digits[2], tmp_path / name, int8=True, name="net")
    files = [{path.name: path.read_bytes() for path in (tmp_path / each).iterdir()} for each in ("onnx", "torch")]
    # names of layers differ, in comments alone
    first, second = ({key: re.sub(rb"/\*.*?\*/", b"", each, flags=re.DOTALL) for key, each in f.items()} for f in files)
    assert first == second
