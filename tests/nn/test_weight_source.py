"""The sources of a running model's tensors: nothing is read twice, and centroids are those of the model."""

import copy

import numpy as np
import pytest
import torch
from running_models import assert_near, floats, linear, saved
from torch import nn

import deepcompression as dc
from deepcompression import Recipe, Rule, Share
from deepcompression.file.reader import DczFile
from deepcompression.nn.weight_source import rows_apart
from deepcompression.tensors.tensor import CompressedTensor


@pytest.mark.parametrize("density", [None, 0.1, 1.0])
def test_a_weight_is_read_once_whether_it_is_packed_or_not(density, tmp_path, monkeypatch):
    model = nn.Linear(320, 256) if density is None else linear(256, 320, density=density)
    path, read = saved(model, tmp_path), []
    checked = DczFile._checked
    monkeypatch.setattr(DczFile, "_checked", lambda file, name: read.append(name) or checked(file, name))
    small = dc.run(nn.Linear(320, 256, device="meta"), path)
    assert sorted(read) == ["bias", "weight"]
    x = floats(2, 320)
    assert_near(small(x).detach(), model.double()(x.double()).detach())


def test_a_model_shared_on_a_grid_is_run_with_rounded_centroids():
    model = nn.Linear(80, 96)
    dc.share(model, Recipe(rules=[Rule(module="*", share=Share(bits=4, codebook_grid="int8"))]))
    with torch.no_grad():
        model.parametrizations.weight.original.add_(floats(16) * 0.01)
    small = dc.run(model)
    assert small.weight.header.grid_bits == 8
    x = floats(2, 80)
    assert_near(small(x).detach(), dc.finalize(copy.deepcopy(model)).double()(x.double()).detach())


@pytest.mark.parametrize("shape", [(3, 1), (6, 5), (9, 2, 7)])
def test_rows_apart_are_the_chunks_of_the_tensor(shape):
    rng = np.random.default_rng(1)
    positions = np.flatnonzero(rng.random(int(np.prod(shape))) < 0.6)
    codebook = np.array([-1, 2, 3], np.float32)
    tensor = CompressedTensor(shape, positions, codebook, rng.integers(0, 3, len(positions)).astype(np.uint8))
    for found, expected in zip(rows_apart(tensor, 3), np.split(tensor.numpy(), 3), strict=True):
        np.testing.assert_array_equal(found.numpy(), expected)
