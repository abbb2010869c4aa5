"""ONNX models behind links, as caches of downloads have them: their external data are found, and nothing else."""

import os

import onnx
import pytest
from onnx_models import MODELS, back, chain, run, save

from deepcompression.checkpoint import open_checkpoint, write_checkpoint
from deepcompression.checkpoint.onnx import graph
from deepcompression.checkpoint.onnx import write as writing
from deepcompression.common.binary import FormatError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def linked(kind, folder, make):
    """The path of a model whose files are links, as caches of downloads have them; `kind` says of what kind."""
    blobs, folder = folder / "blobs", folder / "snapshots" / "1"
    blobs.mkdir()
    folder.mkdir(parents=True)
    onnx.save(make(), blobs / "model.onnx", save_as_external_data=True, size_threshold=0, location="model.onnx_data")
    if kind == "folder":
        folder.rmdir()
        folder.symlink_to(blobs)
        return folder / "model.onnx"
    for name, blob in (("model.onnx", "d41d8c"), ("model.onnx_data", "9e107d")):
        # in a cache no blob has its file's name
        target = blobs / (name if kind == "model alone" else blob)
        (blobs / name).rename(target)
        if kind == "hard":
            os.link(target, folder / name)
        elif kind != "model alone" or name == "model.onnx":
            (folder / name).symlink_to(os.path.relpath(target, folder))
    return folder / "model.onnx"


@pytest.mark.parametrize("kind", ["symbolic", "hard", "model alone", "folder"])
@pytest.mark.parametrize("name", [name for name in MODELS if name != "function"])
def test_external_data_behind_links_are_read(name, kind, tmp_path, path):
    save(MODELS[name](), path)
    assert run(back(linked(kind, tmp_path, MODELS[name]))) == run(path)


def test_what_leaves_the_folder_of_a_linked_model_is_refused(tmp_path):
    path = linked("symbolic", tmp_path, chain)
    data = path.read_bytes()
    for location in ("../../blobs/9e107d", str(tmp_path / "blobs" / "9e107d")):
        model = onnx.ModelProto.FromString(data)
        for place in graph.places_of(model):
            for entry in place.tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        path.resolve().write_bytes(model.SerializeToString())
        with pytest.raises(FormatError, match=r"names the file .*, which is not inside of its folder"):
            open_checkpoint(path)


def test_missing_data_behind_a_link_are_named(tmp_path):
    path = linked("symbolic", tmp_path, chain)
    (tmp_path / "blobs" / "9e107d").unlink()
    with pytest.raises(FormatError, match=rf"{path}: .*model\.onnx_data, which holds data of the model, is missing"):
        open_checkpoint(path)


def test_a_model_is_written_with_its_data_where_a_link_leads(tmp_path, path, monkeypatch):
    save(chain(), path)
    monkeypatch.setattr(writing, "MAX_BYTES", 100)
    (tmp_path / "there").mkdir()
    (tmp_path / "out.onnx").symlink_to(tmp_path / "there" / "model.onnx")
    with open_checkpoint(path) as source:
        write_checkpoint(tmp_path / "out.onnx", source.entries, source.read, source.metadata, source.graph)
    assert sorted(file.name for file in (tmp_path / "there").iterdir()) == ["model.onnx", "model.onnx.data"]
    assert run(tmp_path / "there" / "model.onnx") == run(path)
    assert run(back(tmp_path / "out.onnx")) == run(path)
