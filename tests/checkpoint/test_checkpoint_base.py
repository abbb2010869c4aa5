"""How the bytes of a checkpoint are read: a tensor's alone, by threads at once, on every system."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from cases import content, dense

from deepcompression.checkpoint import open_checkpoint, recognise, write_tensors
from deepcompression.common.binary import FormatError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_reading_a_tensor_reads_its_bytes_alone(path, monkeypatch):
    write_tensors(path, {"a": dense("F32", (1000,)), "b": dense("F32", (10,))}, {})
    ranges = []
    preadv = os.preadv
    with open_checkpoint(path) as source:
        monkeypatch.setattr(os, "preadv", lambda *them: ranges.append((them[2], preadv(*them))) or ranges[-1][1])
        source.read("b")
    assert ranges == [(path.stat().st_size - 40, 40)]


def test_a_checkpoint_has_no_exact_tensors_but_those_that_are_recognised(path):
    write_tensors(path, {"a.weight": dense("I8", (8, 8)), "a.weight_scale": dense("F32", (8,))}, {})
    with open_checkpoint(path) as source:
        assert (source.exact, source.packed) == (frozenset(), "")
        found = recognise(source)
        assert found.exact == {"a.weight", "a.weight_scale"}
        assert "its weights are packed already, by compressed-tensors" in found.packed


def test_short_reads_go_on(path, monkeypatch):
    """The system gives at most 2 GB at once."""
    tensor = dense("F32", (100,))
    write_tensors(path, {"a": tensor}, {})
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, views, at: preadv(file, [views[0][:7]], at))
    with open_checkpoint(path) as source:
        assert content(source.read("a")) == content(tensor)


@pytest.fixture(params=["preadv", "seek"])
def reading(request, monkeypatch):
    """By a call that not every system has, or without it."""
    if request.param == "seek":
        monkeypatch.delattr(os, "preadv")


@pytest.mark.usefixtures("reading")
def test_threads_share_a_checkpoint(path):
    tensors = {f"{number}": dense("U16", (number, 50), number) for number in range(200)}
    write_tensors(path, tensors, {})
    with open_checkpoint(path) as source, ThreadPoolExecutor(8) as pool:
        for name, found in zip(tensors, pool.map(source.read, tensors), strict=True):
            assert content(found) == content(tensors[name])


@pytest.mark.usefixtures("reading")
def test_a_file_cut_off_while_it_is_open_is_refused(path):
    write_tensors(path, {"a": dense("F32", (10,))}, {})
    with open_checkpoint(path) as source:
        os.truncate(path, path.stat().st_size - 1)
        with pytest.raises(FormatError, match="the file is cut off, or changed while it was open"):
            source.read("a")
