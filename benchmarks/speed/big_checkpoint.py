"""Compresses synthetic checkpoints that memory need not hold, and measures seconds, peak resident memory and bytes.

A sharded checkpoint of 8 GB is only shared, AlexNet and VGG-16 pass all three stages. Every checkpoint is made in a
temporary folder, shard by shard, and compressed in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.environment import demand, main
from benchmarks.tensors import ALEXNET, BITS, VGG16
from deepcompression.pruning.criteria import Prune
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.sharing.share_weights import Share
from deepcompression.tensors.dtypes import STORAGE, narrow, size_bytes
from deepcompression.tensors.slices import spans

MEGABYTE = 1 << 20

# promises: bytes beyond twice the largest tensor, and beyond a network's weights
SPARE_BYTES = 300 * MEGABYTE
BEYOND_WEIGHTS_BYTES = 1000 * MEGABYTE

# ru_maxrss of a new process counts the memory of the one before it; the system's VmHWM does not
PEAK = """
import resource, sys
from pathlib import Path

def peak_bytes():
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) << 10 for line in status.open() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""

CHILD = """
import json, time
from deepcompression.checkpoint import open_checkpoint
from deepcompression import Recipe, compress_checkpoint

source, output, recipe, workers = sys.argv[1:]
wall, cpu = time.perf_counter(), time.process_time()
with open_checkpoint(source) as opened:
    compress_checkpoint(opened, output, Recipe.model_validate_json(recipe), workers=int(workers))
print(json.dumps({
    "seconds": round(time.perf_counter() - wall, 1),
    "cpu_seconds": round(time.process_time() - cpu, 1),
    "peak_bytes": peak_bytes(),
}))
"""


class Made(NamedTuple):
    """A tensor to be made."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return size_bytes(self.dtype, self.shape)


def language_model(total_bytes: int, columns: int, rows: int) -> dict[str, Made]:
    """Tensors of about so many bytes: an embedding in BF16, the largest, and layers in BF16 and float32 by turns."""
    tensors = {"embedding.weight": Made("BF16", (rows, columns))}
    left = total_bytes - tensors["embedding.weight"].nbytes
    for number in range(10_000):
        dtype = ("BF16", "F32")[number % 2]
        layer = {
            f"layers.{number}.up.weight": Made(dtype, (rows // 12, columns)),
            f"layers.{number}.down.weight": Made(dtype, (columns, rows // 12)),
            f"layers.{number}.norm.weight": Made(dtype, (columns,)),
        }
        left -= sum(made.nbytes for made in layer.values())
        if left < 0:
            break
        tensors |= layer
    return tensors


def write_shards(folder: Path, tensors: Mapping[str, Made], shard_bytes: int, seed: int) -> Path:
    """Writes Laplace-distributed weights as safetensors shards, and gives the path of their index."""
    rng = np.random.Generator(np.random.PCG64(seed))
    files: list[dict[str, Made]] = [{}]
    for name, made in tensors.items():
        if files[-1] and sum(other.nbytes for other in files[-1].values()) + made.nbytes > shard_bytes:
            files.append({})
        files[-1][name] = made
    places = {}
    for number, held in enumerate(files, 1):
        path = folder / f"model-{number:05}-of-{len(files):05}.safetensors"
        places |= dict.fromkeys(held, path.name)
        header: dict[str, Any] = {}
        end = 0
        for name, made in held.items():
            begin, end = end, end + made.nbytes
            header[name] = {"dtype": made.dtype, "shape": made.shape, "data_offsets": (begin, end)}
        head = json.dumps(header).encode()
        head += b" " * (-len(head) % 8)
        with path.open("wb") as file:
            file.write(len(head).to_bytes(8, "little") + head)
            for made in held.values():
                file.writelines(_elements(made, rng))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def _elements(made: Made, rng: np.random.Generator) -> Iterator[bytes]:
    for span in spans(made.nbytes // STORAGE[made.dtype].itemsize):
        size = span.stop - span.start
        values = rng.standard_exponential(size, np.float32) * np.float32(0.02)
        values *= rng.integers(0, 2, size, np.int8) * np.int8(2) - np.int8(1)
        yield narrow(values, made.dtype).tobytes()


def compressed(source: Path, recipe: Recipe, workers: int, folder: Path) -> dict[str, Any]:
    """Seconds, memory and bytes of compressing, measured in a process of its own."""
    output = folder / "out.dcz"
    arguments = [sys.executable, "-c", PEAK + CHILD, str(source), str(output), recipe.model_dump_json(), str(workers)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    return json.loads(done.stdout) | {"file_bytes": output.stat().st_size}


def big(tensors: Mapping[str, Made], shard_bytes: int, seed: int, workers: int, bits: int) -> dict[str, Any]:
    """A checkpoint of these tensors, shared among 2^bits centroids."""
    recipe = Recipe(rules=(Rule(module="*", share=Share(bits=bits, init="optimal")),))
    sizes = [made.nbytes for made in tensors.values()]
    with tempfile.TemporaryDirectory() as folder:
        source = write_shards(Path(folder), tensors, shard_bytes, seed)
        found = compressed(source, recipe, workers, Path(folder))
    return {"dense_bytes": sum(sizes), "largest_bytes": max(sizes)} | found


def network(layers: Mapping[str, tuple[tuple[int, ...], float]], seed: int, workers: int) -> dict[str, Any]:
    """A network pruned to the paper's densities and shared as in the paper."""
    rules = tuple(
        Rule(
            module=name,
            prune=Prune(density=density),
            share=Share(bits=BITS["fully connected" if len(shape) == 2 else "convolution"]),
        )
        for name, (shape, density) in layers.items()
    )
    tensors = {f"{name}.weight": Made("F32", shape) for name, (shape, _) in layers.items()}
    tensors |= {f"{name}.bias": Made("F32", shape[:1]) for name, (shape, _) in layers.items()}
    with tempfile.TemporaryDirectory() as folder:
        source = write_shards(Path(folder), tensors, 1 << 40, seed)
        found = compressed(source, Recipe(rules=rules), workers, Path(folder))
    return {"dense_bytes": sum(made.nbytes for made in tensors.values())} | found


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    networks = {
        "AlexNet": network(ALEXNET, arguments.seed, arguments.workers),
        "VGG-16": network(VGG16, arguments.seed, arguments.workers),
    }
    tensors = language_model(arguments.megabytes * MEGABYTE, arguments.columns, arguments.rows)
    shard_bytes = arguments.shard_megabytes * MEGABYTE
    checkpoint = big(tensors, shard_bytes, arguments.seed, arguments.workers, arguments.bits)
    bound = 2 * checkpoint["largest_bytes"] + SPARE_BYTES
    demands = [
        demand(f"peak memory of a checkpoint of {checkpoint['dense_bytes'] / 1e9:.1f} GB, below {bound:,} bytes",
               checkpoint["peak_bytes"], checkpoint["peak_bytes"] < bound)
    ]  # fmt: skip
    for (name, found), seconds in zip(networks.items(), (20, 45), strict=True):
        beyond = max(0, found["peak_bytes"] - found["dense_bytes"])
        demands.append(demand(f"{name}: seconds, below {seconds}", found["seconds"], found["seconds"] < seconds))
        demands.append(demand(f"{name}: bytes beyond the weights, below 1 GB", beyond, beyond < BEYOND_WEIGHTS_BYTES))
    return {"networks": networks, "checkpoint": checkpoint | {"bound_bytes": bound}, "demands": demands}


OPTIONS = {
    "--megabytes": 8192,
    "--columns": 4096,
    "--rows": 65536,
    "--shard-megabytes": 2048,
    "--bits": 4,
    "--workers": 2,
    "--seed": 0,
}

if __name__ == "__main__":
    raise SystemExit(main("big_checkpoint", measure, OPTIONS))
