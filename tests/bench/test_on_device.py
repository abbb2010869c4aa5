"""Layers on a device other than the CPU, as far as the CPU can stand in for it."""

import json

import numpy as np
import pytest
import torch
from cases import shared
from commands import refused, run

import deepcompression as dc
from deepcompression import cli
from deepcompression.bench import Settings, bench, measure, on_device
from deepcompression.bench.on_device import pair_on

CPU = torch.device("cpu")


def thinned(*shape):
    size = int(np.prod(shape))
    return shared(size, list(range(0, size, 3)), 5, "F32", shape)


@pytest.mark.parametrize("form", ["word", "tile"])
@pytest.mark.parametrize("shape", [(20, 30), (4, 3, 5), (4, 3, 3, 2), (2, 3, 1, 3, 3)])
def test_both_ways_compute_the_same(shape, form, monkeypatch):
    monkeypatch.setattr("deepcompression.nn.on_device.form_on", lambda device, use: form if len(shape) == 2 else "tile")
    x = np.random.default_rng(1).standard_normal((2, shape[1], *[7] * (len(shape) - 2)), np.float32)
    pair = pair_on(CPU, thinned(*shape), x, Settings(batch=2))
    torch.testing.assert_close(pair.compressed(), pair.dense())
    assert pair.out == tuple(pair.dense().shape)
    assert pair.weight.nbytes > 0


def test_rows_of_a_table_are_looked_up():
    pair = pair_on(CPU, thinned(20, 30), np.array([3, 19, 0]), Settings(batch=3))
    assert torch.equal(pair.compressed(), pair.dense())


def test_a_file_is_measured_on_the_device(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "_device_of", lambda settings: CPU)
    waited = []
    monkeypatch.setattr(on_device, "waits_for", lambda device: lambda: waited.append(device))
    dc.save_tensors(tmp_path / "m.dcz", {"fc.weight": thinned(20, 30), "emb.weight": thinned(9, 30)})
    result = bench(tmp_path / "m.dcz", Settings(seconds=0.001, device="cuda"))
    assert [layer.speed_up > 0 for layer in result.layers] == [True, True]
    assert result.dense_engine == f"torch {torch.__version__} on cpu"
    assert len(waited) > 10


@pytest.mark.parametrize("device", ["cuda:99", "toaster"])
def test_a_device_that_cannot_be_had_is_a_mistake(device, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dc.save_tensors("m.dcz", {"fc.weight": thinned(20, 30)})
    refused(f"bench m.dcz --device {device}", cli.MISTAKE, f"device='{device}'")
    refused(f"bench m.dcz --energy --device {device}", cli.MISTAKE, f"device='{device}'")


def test_json_has_the_device(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dc.save_tensors("m.dcz", {"fc.weight": thinned(20, 30)})
    assert json.loads(run("bench m.dcz --json --seconds 0.001 --device cpu")[1])["settings"]["device"] == "cpu"
