"""The kind of a file: its bytes decide, not its name."""

import gzip
import os
import socket
import tarfile

import numpy as np
import pytest
import torch
from cases import content, dense
from onnx_models import chain

from deepcompression.checkpoint import open_checkpoint, read_tensors, write_tensors
from deepcompression.common.binary import FormatError
from deepcompression.file.reader import DczFile
from deepcompression.file.writer import save_tensors

TENSORS = {"a": dense("F32", (4, 3)), "b": dense("U8", (3,))}


def written(kind, path):
    """Writes the file of a kind."""
    if kind == "safetensors":
        write_tensors(path.with_name("new.safetensors"), TENSORS, {})
        path.with_name("new.safetensors").rename(path)
    elif kind == "onnx":
        path.write_bytes(chain().SerializeToString())
    else:
        state = {name: torch.from_numpy(tensor.numpy()) for name, tensor in TENSORS.items()}
        torch.save(state, path, _use_new_zipfile_serialization=kind == "torch")


KINDS = ["safetensors", "onnx", "torch", "old torch"]


@pytest.mark.parametrize(
    "name", ["m.pth.tar", "6e5b19c0", "m.pt", "m.bin", "m.safetensors", "m.onnx", "m.model", "m.pkl"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_read_by_what_it_is_whatever_its_name(kind, name, tmp_path):
    written(kind, tmp_path / name)
    found, _ = read_tensors(tmp_path / name)
    if kind == "onnx":
        assert "w1" in found
    else:
        assert {name: content(tensor) for name, tensor in found.items()} == {
            name: content(tensor) for name, tensor in TENSORS.items()
        }


def test_an_index_is_read_whatever_its_name(tmp_path):
    written("safetensors", tmp_path / "one.safetensors")
    for name in ("index.json", "0a1b"):
        (tmp_path / name).write_text('{"metadata": {}, "weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}')
        assert read_tensors(tmp_path / name)[0].keys() == TENSORS.keys()


def test_a_damaged_file_is_taken_for_what_its_name_says(tmp_path):
    for name, words in (("m.safetensors", "not a sound safetensors"), ("m.pt", "of torch.save"), ("m.onnx", "ONNX")):
        (tmp_path / name).write_bytes(b"\xff" * 99)
        with pytest.raises(FormatError, match=words):
            open_checkpoint(tmp_path / name)


def made(kind, path):
    """Writes a file that is no checkpoint."""
    if kind == "dcz":
        save_tensors(path.with_suffix(".dcz"), TENSORS)
        path.with_suffix(".dcz").rename(path)
    elif kind == "tar":
        with tarfile.open(path, "w") as file:
            file.add(__file__, "m.pt")
    elif kind == "gzip":
        path.write_bytes(gzip.compress(b"abc"))
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    else:
        path.write_bytes(kind)


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors", "m"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("dcz", r"is a \.dcz file: dcz decompress gives its checkpoint"),
        ("tar", "is a tar archive: unpack it first"),
        ("gzip", "is compressed by gzip: unpack it first"),
        ("npy", "is an array of NumPy, without names: convert it first"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
            "pointer of Git LFS.* git lfs pull",
        ),
        (b"GGUF\3\0\0\0", "is a GGUF file"),
        (b"<!DOCTYPE html><html>", "is a web page, not a checkpoint"),
    ],
)
def test_another_file_is_refused_by_what_it_is(kind, words, name, tmp_path):
    made(kind, tmp_path / name)
    with pytest.raises(ValueError, match=words) as caught:
        open_checkpoint(tmp_path / name)
    assert not isinstance(caught.value, FormatError)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("opens", [open_checkpoint, DczFile])
@pytest.mark.parametrize("name", ["m.pt", "m.safetensors", "m.onnx", "m"])
def test_pipes_sockets_and_devices_are_refused_by_what_they_are(name, opens, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo(name)
    with pytest.raises(
        ValueError, match=f"{name}: is a pipe, which cannot be read by parts: write its bytes to a file"
    ):
        opens(name)
    (tmp_path / name).unlink()
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(name)
        with pytest.raises(ValueError, match="is a socket"):
            opens(name)
    with pytest.raises(ValueError, match="/dev/null: is a device"):
        opens("/dev/null")
