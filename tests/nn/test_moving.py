"""Running models that change their device. No test needs another device."""

import copy
import gc
import io
import weakref

import pytest
import torch
from running_models import compressed, floats
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

import deepcompression as dc
from deepcompression.nn.moving import moved


class Full(nn.Module):
    """A model that does not fit any device."""

    def __init__(self):
        super().__init__()
        self.register_buffer("packed", torch.zeros(1000, dtype=torch.uint8))
        self.tied = self.other = nn.Parameter(torch.zeros(5))

    def _apply(self, fn, recurse=True):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_device_without_enough_memory_is_an_error_with_the_bytes():
    with pytest.raises(torch.OutOfMemoryError, match=r"1,020 bytes on meta.*stays as it was"):
        moved(Full(), torch.device("meta"))


def to_cuda(tensor):
    """A tensor without memory that acts as one on a GPU."""
    return FakeTensor(FakeTensorMode(), tensor.to("meta"), torch.device("cuda", 0))


def as_copied(small):
    return copy.deepcopy(small)


def as_pickled(small):
    file = io.BytesIO()
    torch.save(small, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.fixture(scope="module")
def model():
    """A batch norm and a convolution can move, and stand before a layer that cannot."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(8 * 25, 96))
    return compressed(nn.Sequential(nn.BatchNorm2d(16), nn.Conv2d(16, 8, 3), body, nn.Linear(96, 5))).eval()


@pytest.mark.parametrize("way", [lambda small: small, as_copied, as_pickled], ids=["itself", "a copy", "pickled"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_one_layer_that_cannot_move_keeps_the_whole_model_where_it_is(model, way, wrapped):
    x = floats(2, 16, 7, 7)
    small = way(dc.run(model, prefer="memory"))
    before = small(x)
    outer = nn.Sequential(small) if wrapped else small
    with pytest.raises(ValueError, match=r"2\.1\.weight is packed in the form \w+, .*cuda:0: call dc\.run"):
        outer._apply(to_cuda)
    assert all(
        type(tensor) is not FakeTensor for tensor in (*small.buffers(), *(each.data for each in small.parameters()))
    )
    assert torch.equal(small(x), before)
    assert small.get_submodule("1").weight.device.type == "cpu"


def test_layers_that_wait_are_read_before_any_of_them_moves(model, tmp_path):
    dc.save(model, tmp_path / "model.dcz")
    x = floats(2, 16, 7, 7)
    small = dc.run(model, tmp_path / "model.dcz", lazy=True, prefer="memory")
    with pytest.raises(ValueError, match=r"2\.1\.weight is packed in the form \w+, .*cuda:0: call dc\.run"):
        small._apply(to_cuda)
    assert all(type(each.data) is not FakeTensor for each in small.parameters())
    assert torch.equal(small(x), dc.run(model, prefer="memory")(x))


def test_a_running_model_is_freed_when_it_is_used_no_more(model):
    small = dc.run(model, prefer="memory")
    alive = weakref.ref(small.get_submodule("1"))
    apply = small._apply
    gc.disable()
    try:
        del small
        assert alive() is None
    finally:
        gc.enable()
    with pytest.raises(ReferenceError, match="is gone"):
        apply(to_cuda)


def test_a_part_that_can_move_moves_and_so_does_the_whole(model):
    small = dc.run(model, prefer="memory")
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert small.get_submodule("1")._apply(to_cuda).weight.device.type == "cuda"
    other = dc.run(model, prefer="memory").to("meta").half()
    assert {tensor.device.type for tensor in (*other.parameters(), *other.buffers())} == {"meta"}
    assert other(torch.zeros(2, 16, 7, 7, dtype=torch.half, device="meta")).dtype == torch.half
