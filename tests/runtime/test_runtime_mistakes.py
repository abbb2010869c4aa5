"""The runtime's errors name layer, expected, found and remedy; and it runs the LeNets of this repository."""

from pathlib import Path

import numpy as np
import pytest
import torch

import deepcompression as dc
from deepcompression.runtime import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Sequence,
    Softmax,
)
from deepcompression.tensors.tensor import DenseTensor
from reproduce.data import load_test
from reproduce.models import LeNet5, LeNet300100

RESULTS = Path(__file__).parents[2] / "reproduce" / "results"
CONVOLUTIONS = [Conv2d("conv1"), MaxPool2d(2), Conv2d("conv2"), MaxPool2d(2)]
NETWORKS = {
    "lenet-5": (LeNet5, [*CONVOLUTIONS, Flatten(), Linear("fc1"), ReLU(), Linear("fc2")]),
    "lenet-300-100": (LeNet300100, [Flatten(), Linear("fc1"), ReLU(), Linear("fc2"), ReLU(), Linear("fc3")]),
}


@pytest.mark.parametrize("seed", ["", "-seed-1", "-seed-2"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_of_this_repository_predict_as_in_torch(name, seed):
    network, layers = NETWORKS[name]
    path = RESULTS / f"{name}{seed}.dcz"
    images = load_test()
    net = Sequence.load(path, layers, input_shape=(1, 28, 28), batch=64)
    found = net(images.pixels.numpy())
    with torch.inference_mode():
        expected = dc.load(path, into=network()).eval()(images.pixels).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-5)
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
    assert (found.argmax(1) == images.labels.numpy()).mean() > 0.985
    assert net.held_bytes < sum(fact.dense_bytes for fact in net.facts()) / 10


def tensors(**shapes):
    return {name.replace("__", "."): DenseTensor.from_numpy(np.ones(s, np.float32)) for name, s in shapes.items()}


@pytest.fixture
def file(tmp_path):
    codes = {"codes.weight": DenseTensor.from_numpy(np.ones((3, 3), np.int32))}
    others = tensors(conv__weight=(6, 2, 3, 3), conv__bias=(6,), fc__weight=(4, 10), fc__bias=(3,))
    dc.save_tensors(tmp_path / "m.dcz", codes | others | tensors(bn__running_mean=(6,)))
    return tmp_path / "m.dcz"


@pytest.mark.parametrize(
    ("layers", "error", "words"),
    [
        ([Linear("fcc")], ValueError, r"m.dcz: layer 1 \(Linear fcc\): .* no tensor fcc.weight; near names are fc.wei"),
        ([Linear("x" * 30)], ValueError, "near names are codes.weight, conv.weight, conv.bias"),
        ([ReLU(), Linear("conv")], ValueError, r"layer 2 .*conv.weight has shape \[6, 2, 3, 3\], expected 2 dim"),
        ([Conv2d("fc")], ValueError, r"fc.weight has shape \[4, 10\], expected 4 dimensions"),
        ([Conv2d("conv", groups=4)], ValueError, "conv.weight has 6 outputs, which groups=4 does not divide"),
        ([Linear("fc")], ValueError, r"fc.bias has shape \[3\], expected \[4\]"),
        ([Linear("codes")], TypeError, "codes.weight is of dtype I32, expected F64, F32"),
        ([BatchNorm("bn")], ValueError, "no tensor bn.running_var; near names are bn.running_mean"),
        (
            [Conv2d("conv")],
            ValueError,
            "no layer takes codes.weight, fc.weight, fc.bias, bn.running_mean; .*strict=False",
        ),
        ([Conv2d("conv"), np.tanh], TypeError, "layer 2 is no layer of deepcompression.runtime"),
    ],
)
def test_a_file_that_does_not_fit(file, layers, error, words):
    with pytest.raises(error, match=words):
        Sequence.load(file, layers)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"activations": "int4"}, "activations are float32 or int8; found 'int4'"),
        ({"threads": 0}, "threads is a number of threads, 1 or more; found 0"),
        ({"batch": -1}, "batch is a number of vectors, 1 or more; found -1"),
        ({"input_shape": (3, 8, 8)}, r"layer 1 \(Conv2d conv\): expected \(count, 2, h, w\), .*\[1, 3, 8, 8\]"),
        ({"input_shape": (2, 8, 2)}, r"windows of \[3, 3\] do not fit into images of \[8, 2\]"),
        ({"limit_bytes": 10}, "the limit is 10"),
    ],
)
def test_options_that_do_not_fit(file, options, words):
    with pytest.raises(ValueError, match=words):
        Sequence.load(file, [Conv2d("conv")], strict=False, **options)


def test_an_empty_file_has_no_near_names(tmp_path):
    dc.save_tensors(tmp_path / "m.dcz", {})
    with pytest.raises(ValueError, match=r"no tensor fc.weight; near names are none: it is empty"):
        Sequence.load(tmp_path / "m.dcz", [Linear("fc")])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Conv2d("c", stride=0), r"Conv2d c: stride is an integer from 1 on, or 2 of them; found 0"),
        (lambda: Conv2d("c", padding=(1, 2, 3)), r"padding is an integer from 0 on, or 2 of them; found \(1, 2, 3\)"),
        (lambda: Conv2d("c", padding="same"), r"padding is an integer from 0 on, or 2 of them; found 'same'"),
        (lambda: Conv2d("c", groups=0), "groups is an integer from 1 on; found 0"),
        (lambda: MaxPool2d(2, padding=2), "MaxPool2d: padding is at most half of the kernel; found 2 and 2"),
        (lambda: AvgPool2d(0), "kernel_size is an integer from 1 on, or 2 of them; found 0"),
        (lambda: AdaptiveAvgPool2d((1, 2, 3)), "output_size is an integer from 1 on, or 2 of them"),
    ],
)
def test_arguments_that_do_not_fit(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("layers", "x", "error", "words"),
    [
        ([], np.ones((1, 2)), TypeError, r"float32 NumPy array; found an array of float64; numpy.asarray\(x"),
        ([], [[1.0]], TypeError, "float32 NumPy array; found list"),
        ([], np.array(1, "f4"), ValueError, "at least one dimension, the count; found a scalar"),
        ([Conv2d("conv")], np.ones((2, 8, 8), "f4"), ValueError, r"found an input of shape \[2, 8, 8\]"),
        ([MaxPool2d(2)], np.ones((1, 3, 1, 4), "f4"), ValueError, r"MaxPool2d\): windows of \[2, 2\] do not fit"),
        ([AdaptiveAvgPool2d(1)], np.ones((1, 3, 0, 4), "f4"), ValueError, "expected images with elements"),
        (
            [Flatten(2)],
            np.ones((1, 3), "f4"),
            ValueError,
            r"Flatten needs dimension 2; found an input of shape \[1, 3\]",
        ),
        ([Softmax(4)], np.ones((1, 3), "f4"), ValueError, r"dim=4 is outside of shape \[1, 3\]"),
        ([Linear("one")], np.ones((1, 2, 2), "f4"), ValueError, r"vectors of 4, found .*\[1, 2, 2\]; a Flatten\(\)"),
    ],
)
def test_inputs_that_do_not_fit(file, tmp_path, layers, x, error, words):
    dc.save_tensors(tmp_path / "one.dcz", tensors(conv__weight=(6, 2, 3, 3), one__weight=(5, 4)))
    net = Sequence.load(tmp_path / "one.dcz", layers, strict=False)
    with pytest.raises(error, match=words):
        net(x)


def test_a_damaged_file_is_named(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(dc.FormatError, match=r"m.dcz: tensor 'bn.running_mean': the payload"):
        Sequence.load(file, [BatchNorm("bn")])
