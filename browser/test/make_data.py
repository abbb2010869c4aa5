"""What the package must give, as Python gives it, in build/browser/data: `python -m browser.test.make_data`.

NAME.json, NAME.bin       of each good golden file and of LeNet-5: metadata, and for each tensor name, dtype, shape,
                          coder, `tiedTo`, offset and length of its bytes in NAME.bin
axes.json, axes.bin       the same of tensors of many axes, by every coder, in axes.dcz
mutants.json              payloads of good golden files, changed, and what Python makes of them
bad.json                  of each bad golden file: whether opening it or reading a tensor is refused, and why
digits.json, digits.bin   16 images of MNIST, and the logits of two networks for them
lenet-5.safetensors       what `dcz decompress` makes of LeNet-5
onnx.dcz, onnx.onnx       a small ONNX model, and what `dcz decompress` makes of it
alexnet.json, alexnet.bin with --long: an input of AlexNet's fully connected layers, and the output of each
medium.dcz, .json, .bin   six tensors of 50 kB that nothing makes smaller
claim.dcz                 67 bytes that stand for 3.2 GB
big.dcz                   with --long: 200 MB of tensors that nothing makes smaller
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from browser.test.mutants import mutants
from deepcompression import (
    CompressedTensor,
    DczFile,
    DenseTensor,
    Encode,
    FormatError,
    compress_checkpoint,
    save_tensors,
)
from deepcompression.checkpoint import open_checkpoint
from deepcompression.coding.coders import encode
from deepcompression.common.binary import checksum
from deepcompression.convert.from_dcz import decompress_file
from deepcompression.file.index import CHECKSUM_BYTES, HEADER_BYTES, Entry, read_head, read_header, write_head
from deepcompression.runtime import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequence
from reproduce.data import DEVIATION, MEAN, read_pair

ROOT = Path(__file__).resolve().parents[2]
GOLDEN, NETWORKS, DATA = ROOT / "tests" / "golden", ROOT / "reproduce" / "results", ROOT / "build" / "browser" / "data"

LENET_5 = [
    Conv2d("conv1"),
    MaxPool2d(2),
    Conv2d("conv2"),
    MaxPool2d(2),
    Flatten(),
    Linear("fc1"),
    ReLU(),
    Linear("fc2"),
]
LENET_300_100 = [Flatten(), Linear("fc1"), ReLU(), Linear("fc2"), ReLU(), Linear("fc3")]
IMAGES = 16


def write(name: str, parts: Iterable[tuple[Mapping[str, Any], bytes]], **facts: Any) -> None:
    """NAME.bin of the parts' bytes, and NAME.json that says of each where it lies."""
    tensors, data = [], b""
    for part, content in parts:
        tensors.append({**part, "offset": len(data), "bytes": len(content)})
        data += content
    (DATA / f"{name}.bin").write_bytes(data)
    (DATA / f"{name}.json").write_text(json.dumps(facts | {"tensors": tensors}))


def decoded(path: Path) -> None:
    """All that a file holds; folders of Hugging Face are not told apart from tensors."""
    content = path.read_bytes()
    start, length = read_header(content[:HEADER_BYTES])
    _, metadata = read_head(content[: start + length + CHECKSUM_BYTES], start)

    def parts(file: DczFile) -> Iterator[tuple[dict[str, Any], bytes]]:
        for name, entry in file.all_entries.items():
            part = {"name": name, "dtype": entry.dtype, "shape": entry.shape, "coder": entry.coder}
            tie = {} if entry.tied_to is None else {"tiedTo": entry.tied_to}
            yield part | tie, file.read_dense(name).elements.tobytes()

    with DczFile(path) as file:
        write(path.stem, parts(file), file=path.name, size=len(content), metadata=metadata)


def refused(path: Path) -> dict[str, str]:
    stage = "open"
    try:
        with DczFile(path) as file:
            stage = "tensor"
            for name in file.all_entries:
                file.read(name)
    except FormatError as error:
        return {"name": path.stem, "stage": stage, "message": str(error).removeprefix(f"{path}: ")}
    raise AssertionError(f"{path} is not refused")


def array(name: str, values: NDArray[np.float32]) -> tuple[dict[str, Any], bytes]:
    return {"name": name, "dtype": "F32", "shape": values.shape}, values.tobytes()


def digits() -> None:
    pixels, labels = (each[:IMAGES] for each in read_pair("t10k", None))
    images = ((pixels.astype(np.float32) / 255 - MEAN) / DEVIATION).astype(np.float32)[:, None]
    networks = {"lenet-5": LENET_5, "lenet-300-100": LENET_300_100}
    outputs = {name: Sequence.load(NETWORKS / f"{name}.dcz", layers)(images) for name, layers in networks.items()}
    write("digits", [array("images", images), *(array(*each) for each in outputs.items())], labels=labels.tolist())


def alexnet() -> None:
    """Each layer alone, from one input; the layers' inputs are what ReLU leaves of the layer before."""
    x = np.maximum(np.random.default_rng(17).standard_normal((1, 9216)), 0).astype(np.float32)
    parts = [array("x", x)]
    for name in ("fc6", "fc7", "fc8"):
        y = Sequence.load(NETWORKS / "alexnet.dcz", [Linear(name)], strict=False)(x)
        parts.append(array(name, y))
        x = np.maximum(y, 0)
    write("alexnet", parts)


def onnx_model() -> onnx.ModelProto:
    """Two convolutions and a product; weights in raw_data and in float_data, and constants as nodes."""
    random = np.random.default_rng(17)

    def weight(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape).astype(np.float32)

    matrix, two = weight(64, 10), np.array([0, -1], np.int64)
    nodes = [
        helper.make_node("Conv", ["x", "first", "first_bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(two)),
        helper.make_node("Reshape", ["d", "shape"], ["e"]),
        helper.make_node("MatMul", ["e", "matrix"], ["y"]),
    ]
    weights = {"first": weight(32, 3, 3, 3), "first_bias": weight(32), "second": weight(64, 32, 3, 3)}
    initializers = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    initializers.append(helper.make_tensor("matrix", onnx.TensorProto.FLOAT, matrix.shape, matrix.reshape(-1).tolist()))
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, 16, 16])]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 10])]
    graph = helper.make_graph(nodes, "small", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def converted() -> None:
    decompress_file(NETWORKS / "lenet-5.dcz", DATA / "lenet-5.safetensors")
    model = DATA / "model.onnx"
    model.write_bytes(onnx_model().SerializeToString())
    with open_checkpoint(model) as source:
        compress_checkpoint(source, DATA / "onnx.dcz", "share-8bit")
    decompress_file(DATA / "onnx.dcz", DATA / "onnx.onnx")


def claim() -> None:
    """Of a few bytes: 800 million weights, of which one survives."""
    few = CompressedTensor((8,), np.array([5]), np.array([1.5], "<f4"), np.zeros(1, np.uint8))
    payload = encode(few, "sparse")[1]
    entries = [
        Entry(name, "F32", (size,), coder="sparse", length=len(payload), checksum=checksum(payload))
        for name, size in (("first", 8), ("huge", 800_000_000))
    ]
    (DATA / "claim.dcz").write_bytes(write_head(entries, {}) + 2 * payload)


def noise(name: str, count: int, size: int) -> None:
    random = np.random.default_rng(17)
    names = [f"layer{number}" for number in range(count)]
    tensors = {each: DenseTensor("U8", random.integers(0, 256, size, np.uint8)) for each in names}
    save_tensors(DATA / f"{name}.dcz", tensors, {}, dict.fromkeys(names, Encode(coder="raw")))


def axes() -> None:
    """More axes than boards keep, with kernels for `small` and classes for masks."""
    random = np.random.default_rng(17)
    shapes = [(2,) * 12, (16, 4, *(1,) * 20, 3, 3), (1,) * 32]
    tensors, encodings = {}, {}
    for shape in shapes:
        for coder in ("raw", "sparse", "huffman", "fast", "small", "deflate", "device"):
            values = random.integers(-3, 4, shape).astype("<f4") * (
                random.random(shape[0])[(...,) + (None,) * (len(shape) - 1)] < 0.5
            )
            name = f"{coder} {len(shape)}"
            tensors[name] = DenseTensor("F32", values.astype("<f4"))
            encodings[name] = Encode(coder=coder)
    save_tensors(DATA / "axes.dcz", tensors, {}, encodings)
    decoded(DATA / "axes.dcz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="AlexNet and 200 MB, too")
    long = parser.parse_args().long
    DATA.mkdir(parents=True, exist_ok=True)
    for path in sorted([*(GOLDEN / "good").iterdir(), NETWORKS / "lenet-5.dcz"]):
        decoded(path)
    (DATA / "bad.json").write_text(json.dumps([refused(path) for path in sorted((GOLDEN / "bad").iterdir())]))
    (DATA / "mutants.json").write_text(json.dumps(mutants(GOLDEN / "good")))
    axes()
    digits()
    converted()
    claim()
    noise("medium", 6, 50_000)
    decoded(DATA / "medium.dcz")
    if long:
        alexnet()
        noise("big", 25, 8_000_000)


if __name__ == "__main__":
    main()
