"""VGG-16 with convolutions that a package ships: how they are read, and the job in which they stay frozen."""

import json

import h5py
import numpy as np
import pytest
import torch
from pictures import write_pictures
from torch.nn import functional as F

import deepcompression as dc
from reproduce.experiment import HERE
from reproduce.large import frozen, hed
from reproduce.large.experiment import evaluate
from reproduce.large.job import Options
from reproduce.large.networks import VGG16
from reproduce.large.phases import Rates
from reproduce.large.weights import load_weights


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A file as the package has it, with random weights."""
    path = tmp_path / hed._MEMBER
    path.parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    inputs = 3
    with h5py.File(path, "w") as file:
        for block, (outputs, convolutions) in enumerate(VGG16.BLOCKS, 1):
            for number in range(convolutions):
                part = f"block{block}/layers/conv2d{f'_{number}' if number else ''}/vars"
                file[f"{part}/0"] = rng.standard_normal((3, 3, inputs, outputs), np.float32)
                file[f"{part}/1"] = rng.standard_normal(outputs, np.float32)
                inputs = outputs
    monkeypatch.setattr(hed, "unpacked", lambda release, folder: folder)
    return tmp_path


def test_convolutions_of_the_package_are_turned_as_torch_has_them(package):
    model = VGG16(2, size=32)
    hed.load_convolutions(model, package)
    rgb = torch.rand(1, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    with h5py.File(package / hed._MEMBER) as file:
        first = np.asarray(file["block1/layers/conv2d/vars/0"]), np.asarray(file["block1/layers/conv2d/vars/1"])
        last = np.asarray(file["block5/layers/conv2d_2/vars/0"])
    # Keras: rows, columns and channels last, these blue first
    expected = np.einsum("hwi,hwio->o", rgb[0].numpy().transpose(1, 2, 0)[..., ::-1], first[0]) + first[1]
    with torch.no_grad():
        found = F.conv2d(rgb, model.conv1_1.weight, model.conv1_1.bias)
    assert np.allclose(found.flatten().numpy(), expected, atol=1e-5)
    assert np.array_equal(16 * model.conv5_3.weight.detach().numpy()[7, 5], last[:, :, 5, 7])
    with pytest.raises(ValueError, match="width must be 1"):
        hed.load_convolutions(VGG16(2, 0.02, 32), package)


def job(data, out, **changes):
    settings = {
        "name": "vgg-16",
        "data": data,
        "out": out,
        "weights": None,
        "recipe": HERE / "recipes" / "vgg-16-fashion-mnist.yaml",
        "rates": Rates(2, 0.05, 0.5, 0.01, 0.5, 1e-3),
        "batch": 8,
        "seed": 0,
        "classes": 5,
        "width": 0.05,
        "size": 32,
        "images": 32,
        "normalisation": "caffe",
        "precision": "float32",
        "workers": 0,
        "save_minutes": 10,
        "longer": True,
    }
    return Options(**(settings | changes))


def test_only_connected_layers_are_trained_and_all_is_compressed(tmp_path, monkeypatch):
    def given(model, folder):
        torch.manual_seed(7)
        for name, module in model.named_children():
            if name.startswith("conv"):
                torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    monkeypatch.setattr(frozen, "load_convolutions", given)
    data, out = write_pictures(tmp_path / "pictures", training=14), tmp_path / "out"
    options = job(data, out)
    path = frozen.run_frozen(options, tmp_path)
    result = json.loads(path.with_suffix(".json").read_text())
    assert [stage["stage"] for stage in result["stages"][:3]] == ["train", "prune fc 1/1", "share"]
    assert {"test_error_percent", "dense_test_error_percent", "longer_dense_test_error_percent"} <= result.keys()
    assert result["data"]["training"] == 32

    dense, expected = options.model(), options.model()
    load_weights(dense, out / "vgg-16-dense.safetensors")
    given(expected, tmp_path)
    assert torch.equal(dense.conv3_2.weight, expected.conv3_2.weight)
    assert not torch.equal(dense.fc7.weight, expected.fc7.weight)
    rows = {row["name"]: row for row in result["report"]["rows"]}
    for rule in dc.Recipe.load(options.recipe).rules:
        name = "fc7" if rule.module == "fc[67]" else rule.module
        assert rows[f"{name}.weight"]["density"] == pytest.approx(rule.prune.density, abs=0.02)
        assert rows[f"{name}.weight"]["centroids"] <= 2**rule.share.bits

    # measured through the convolutions in the file
    found, count = evaluate(path, data, None)
    assert count == 9
    assert found.top1 == pytest.approx(result["test_error_percent"], abs=1e-3)

    # all is done: the same command repeats nothing but the file and the test
    before = path.read_bytes()
    monkeypatch.setattr(frozen.dc, "calibrate", None)
    assert frozen.run_frozen(options, tmp_path).read_bytes() == before
