"""What converters must give, as `dcz decompress` gives it, in build/browser/data/converted.

    python -m browser.test.make_converted

NAME.dcz, NAME.onnx         ONNX models of every kind
NAME.dcz, NAME.safetensors  good golden files, LeNet-5, names and metadata and dtypes of every kind, a megabyte
refused.json                good golden files that safetensors cannot hold: the message of each
folder.dcz, folder/         a Hugging Face folder with two shards
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from safetensors.numpy import save_file

from deepcompression import DenseTensor, compress_checkpoint, save_tensors
from deepcompression.checkpoint import open_checkpoint
from deepcompression.convert.from_dcz import decompress_file
from tests.helpers.onnx_models import MODELS

ROOT = Path(__file__).resolve().parents[2]
GOLDEN, NETWORKS = ROOT / "tests" / "golden" / "good", ROOT / "reproduce" / "results"
DATA = ROOT / "build" / "browser" / "data" / "converted"


def documented() -> onnx.ModelProto:
    """A model whose tensors have every field that stays in the graph."""
    model = MODELS["chain"]()
    for at, tensor in enumerate(model.graph.initializer):
        tensor.doc_string = f"the tensor {at}"
        tensor.metadata_props.add(key="at", value=str(at))
    return model


def onnx_models() -> None:
    for name, make in ONNX_MODELS.items():
        model = DATA / "model.onnx"
        model.write_bytes(make().SerializeToString())
        with open_checkpoint(model) as source:
            compress_checkpoint(source, DATA / f"{name}.dcz", "share-8bit")
        model.unlink()
        decompress_file(DATA / f"{name}.dcz", DATA / f"{name}.onnx")


def mixed() -> None:
    """Names that JavaScript would sort or hide, metadata that JSON must escape, complex numbers, elements of 4 bits."""
    random = np.random.default_rng(17)
    names = (
        "10",
        "9",
        "__proto__",
        "constructor",
        "ünïcode/\u2028",
        "\U0001f600",
        "\uffee",
        'quo"te\\',
        "tab\t\x1f\x7f",
    )
    kinds = (*(("F32", 8), ("F16", 4), ("C128", 32), ("C32", 8), ("U8", 2), ("F64", 16), ("BF16", 4)), ("C64", 16))
    tensors = {}
    for at, name in enumerate(names):
        dtype, bytes_of_two = kinds[at % len(kinds)]
        tensors[name] = DenseTensor.of_bytes(dtype, (3, 2), random.integers(0, 256, 3 * bytes_of_two, np.uint8))
    tensors["pairs in a byte"] = DenseTensor.of_bytes("F4", (4,), random.integers(0, 256, 2, np.uint8))
    tensors["none"] = DenseTensor("F32", np.zeros((0, 4), np.float32))
    tensors["one"] = DenseTensor("I64", np.array(7))
    metadata = {"\U0001f600": "1", "\uffee": "2", "a": 'line\n"quoted"\\ \x01 \x7f \u2028', "": "", "device": "none"}
    save_tensors(DATA / "mixed.dcz", tensors, metadata)


def long() -> None:
    """A megabyte in tensors that nothing makes smaller."""
    random = np.random.default_rng(17)
    parts = {f"part{at}": DenseTensor("U8", random.integers(0, 256, 1 << 18, np.uint8)) for at in range(4)}
    save_tensors(DATA / "long.dcz", parts)


ONNX_MODELS = {**MODELS, "documented": documented}


def safetensors_files() -> None:
    mixed()
    long()
    for path in (*GOLDEN.glob("*.dcz"), NETWORKS / "lenet-5.dcz"):
        shutil.copy(path, DATA)
    refused = {}
    for path in sorted(DATA.glob("*.dcz")):
        if path.stem not in ONNX_MODELS:
            try:
                decompress_file(path, path.with_suffix(".safetensors"))
            except ValueError as error:
                refused[path.stem] = str(error)
    (DATA / "refused.json").write_text(json.dumps(refused))


def folder() -> None:
    whole = DATA / "whole"
    (whole / "deep" / "er").mkdir(parents=True)
    (whole / "config.json").write_text('{"model_type": "none"}\n')
    (whole / "empty").touch()
    (whole / "deep" / "er" / "vocabulary.txt").write_bytes(bytes(range(256)) * 8)
    random = np.random.default_rng(17)
    weights = {name: random.standard_normal((32, 24)).astype(np.float32) for name in ("10", "9", "b", "a")}
    shards = {"model-00001-of-00002.safetensors": ("10", "b"), "model-00002-of-00002.safetensors": ("9", "a")}
    for shard, names in shards.items():
        save_file({name: weights[name] for name in names}, whole / shard, {"format": "pt"})
    index = {"weight_map": {name: shard for shard, names in shards.items() for name in names}}
    (whole / "model.safetensors.index.json").write_text(json.dumps(index))
    with open_checkpoint(whole) as source:
        compress_checkpoint(source, DATA / "folder.dcz", "share-8bit")
    shutil.rmtree(whole)
    decompress_file(DATA / "folder.dcz", DATA / "folder")


if __name__ == "__main__":
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    onnx_models()
    folder()
    safetensors_files()
