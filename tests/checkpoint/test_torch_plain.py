"""Tensors of torch that no file holds as they are, made plain: quantized, distributed, of its own dtypes."""

import warnings

import numpy as np
import pytest
import torch
import torch.distributed as dist
from cases import content
from torch.distributed.tensor import Replicate, Shard, distribute_tensor, init_device_mesh

from deepcompression.checkpoint import open_checkpoint, read_tensors
from deepcompression.tensors.from_torch import from_torch

# torch means to remove its quantized tensors; files keep them
pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


def save(value, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, path)


def notes(path):
    with open_checkpoint(path) as source:
        return source.notes


def refused(path, words):
    with pytest.raises(ValueError, match=words):
        open_checkpoint(path)


@pytest.mark.parametrize("dtype", [torch.qint8, torch.quint8, torch.qint32])
def test_quantized_tensors_are_read_as_their_integers_scales_and_zero_points(dtype, path):
    by_row = torch.quantize_per_channel(torch.randn(4, 6), torch.rand(4) + 0.1, torch.arange(4), 0, dtype)
    save({"a": torch.quantize_per_tensor(torch.randn(3, 4), 0.25, 3, dtype), "b": by_row}, path)
    found = {name: tensor.numpy() for name, tensor in read_tensors(path)[0].items()}
    assert list(found) == ["a", "a.scale", "a.zero_point", "b", "b.scale", "b.zero_point", "b.axis"]
    assert found["a.scale"] == 0.25
    assert found["a.zero_point"] == 3
    assert np.array_equal(found["b"], by_row.int_repr().numpy())
    assert np.array_equal(found["b.scale"], by_row.q_per_channel_scales().numpy())
    assert notes(path)[0].startswith("2 tensors are quantized by torch (a, b): their integers, scales and zero points")


def test_packed_quantized_tensors_are_read_as_their_bytes(path):
    scales, zeros = torch.rand(4) + 0.1, torch.zeros(4)
    packed = torch.quantize_per_channel(torch.randn(4, 8), scales, zeros, 0, torch.quint4x2)
    save({"a": packed}, path)
    assert content(read_tensors(path)[0]["a"])[:2] == ("U8", (16,))


def test_a_part_of_a_quantized_tensor_may_not_hide_another_tensor(path):
    save({"a": torch.quantize_per_tensor(torch.randn(3), 0.25, 3, torch.qint8), "a.scale": torch.ones(1)}, path)
    refused(path, r"a has a part named a\.scale, as another tensor is: rename")


def test_dtypes_that_only_torch_has_are_read_as_integers_and_said(path):
    bits = torch.arange(64, dtype=torch.uint8)
    save({"a": bits.view(torch.bits16), "b": bits.view(torch.bits2x4)}, path)
    assert {name: content(tensor) for name, tensor in read_tensors(path)[0].items()} == {
        "a": content(from_torch("a", bits.view(torch.uint16))),
        "b": content(from_torch("b", bits)),
    }
    assert notes(path) == ("a, b are of torch.bits16, torch.bits2x4: read as unsigned integers with the same bits.",)


def test_ties_of_quantized_tensors_stay(path):
    one = torch.quantize_per_tensor(torch.randn(3, 4), 0.25, 3, torch.qint8)
    save({"a": one, "b": one}, path)
    with open_checkpoint(path) as source:
        assert source.entries["b"].tied_to == "a"


@pytest.fixture
def ranks():
    """A function that makes meshes of any number of ranks, without other processes."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=4)
    yield lambda count: init_device_mesh("cpu", (count,))
    dist.destroy_process_group()


def test_dtensors_that_are_whole_are_read_and_said(path, ranks):
    weight = torch.randn(8, 4)
    state = {
        "one rank": distribute_tensor(weight, ranks(1), [Shard(0)]),
        "replicated": distribute_tensor(weight, ranks(4), [Replicate()]),
        "plain": weight,
    }
    save(state, path)
    found, _ = read_tensors(path)
    assert {name: content(tensor) for name, tensor in found.items()} == dict.fromkeys(
        state, content(from_torch("", weight))
    )
    assert notes(path) == ("2 tensors are whole DTensors (one rank, replicated): their values are read.",)


def test_a_dtensor_that_is_a_part_is_refused_with_the_remedy(path, ranks):
    save({"fc.weight": distribute_tensor(torch.randn(8, 4), ranks(4), [Shard(0)])}, path)
    refused(
        path, r"fc\.weight is a DTensor, one rank's part of a \[8, 4\] tensor that is spread over 4 ranks: save the"
    )
