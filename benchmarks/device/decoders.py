"""All coders in C on this machine, beside the core's portable decoders; and their size in WebAssembly.

    python -m benchmarks.device.decoders

One core, from bytes in memory to a dense tensor. The core checks the checksum as well; that of C, made for boards in
few bytes, takes longer and is not counted. Seconds are those of the process, the least of `ROUNDS` by turns.
"""

from __future__ import annotations

import ctypes
import gzip
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.device.boards import DEVICE
from deepcompression import _core
from deepcompression.coding.encode_part import Encode
from deepcompression.file.reader import DczFile
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor

ROUNDS = 15
CODERS = ("fast", "small", "huffman", "sparse", "deflate")
SOURCES = (DEVICE / "dcz.c", DEVICE / "rows.c", *sorted((DEVICE / "full").glob("*.c")))

# What decodes most symbols is compiled for speed, the rest for size.
HOT = ("lanes", "table", "fast", "adaptive")
EXPORTS = ("open", "find", "at", "name", "metadata", "check", "work_size", "rows_open", "rows_seek", "rows_next")
STRING_H = """#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
"""
STRING_C = """#include <string.h>
void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) ((unsigned char *)to)[i] = ((const unsigned char *)from)[i];
  return to;
}
void *memset(void *to, int value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) ((unsigned char *)to)[i] = (unsigned char)value;
  return to;
}
"""


def shared(shape: tuple[int, ...], density: float, centroids: int, rng: np.random.Generator) -> CompressedTensor:
    """Survivors at random places, more of them near zero."""
    positions = np.flatnonzero(rng.random(int(np.prod(shape))) < density)
    codebook = np.sort(rng.normal(size=centroids)).astype("<f4")
    odds = np.exp(-np.abs(np.arange(centroids) - centroids / 2) / (centroids / 6))
    codes = rng.choice(centroids, len(positions), p=odds / odds.sum()).astype(np.uint8)
    return CompressedTensor(shape, positions, codebook, codes, "F32")


def tensors(seed: int = 0) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    return {
        "1024 x 1024, 10 %, 16 centroids": shared((1024, 1024), 0.1, 16, rng),
        "1024 x 1024, 10 %, 256 centroids": shared((1024, 1024), 0.1, 256, rng),
        "1024 x 1024, 50 %, 16 centroids": shared((1024, 1024), 0.5, 16, rng),
        "1024 x 1024, all, 256 centroids": shared((1024, 1024), 1.0, 256, rng),
        "1024 x 1024, values": DenseTensor("F32", rng.normal(size=(1024, 1024)).astype("<f4")),
        "128 x 128 x 3 x 3, 30 %, 64 centroids": shared((128, 128, 3, 3), 0.3, 64, rng),
    }


def library(folder: Path) -> ctypes.CDLL:
    built = folder / "decode.so"
    sources = map(str, (Path(__file__).with_name("decode.c"), *SOURCES))
    switches = ("-std=c99", "-O2", "-DDCZ_WITH_ALL", f"-I{DEVICE}", "-shared", "-fPIC")
    subprocess.run(["cc", *switches, *sources, "-o", str(built)], check=True)
    return ctypes.CDLL(str(built))


def of_c(c: ctypes.CDLL, file: bytes, elements: np.ndarray) -> tuple[Callable[[], None], int]:
    """A function that decodes the only tensor of a file into `elements`, and the bytes of its work buffer."""
    size = ctypes.c_uint32()
    assert c.decode_work(file, len(file), 0, ctypes.byref(size)) == 0
    work = ctypes.create_string_buffer(size.value)
    to = elements.ctypes.data_as(ctypes.c_void_p)

    def decode() -> None:
        error = c.decode(file, len(file), 0, work, size, to)
        if error:
            raise AssertionError(f"C refuses with error {error}")

    return decode, size.value


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measure_speed() -> list[dict[str, object]]:
    _core.force_instruction_set("portable")
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        c = library(folder)
        for tensor_name, tensor in tensors().items():
            expected = tensor.dense().elements
            for coder in CODERS:
                if coder == "huffman" and isinstance(tensor, DenseTensor):
                    continue
                path = folder / "one.dcz"
                save_tensors(path, {"w": tensor}, {}, {"w": Encode(coder=coder)})
                found = np.empty_like(expected)
                decode, work = of_c(c, path.read_bytes(), found)
                with DczFile(path) as file:
                    read = partial(file.read_dense, "w")
                    both = [(seconds(decode), seconds(read)) for _ in range(ROUNDS)]
                assert found.tobytes() == expected.tobytes()
                ours, theirs = (min(times) for times in zip(*both, strict=True))
                rows.append(
                    {"tensor": tensor_name, "coder": coder, "work": work, "c_ms": 1e3 * ours, "core_ms": 1e3 * theirs}
                )
    return rows


def measure_wasm() -> dict[str, int] | None:
    """Bytes of all coders in WebAssembly without a C library; None without clang or wasm-ld."""
    if not (shutil.which("clang") and shutil.which("wasm-ld")):
        return None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "string.h").write_text(STRING_H)
        (folder / "string.c").write_text(STRING_C)
        objects = []
        for source in (*SOURCES, folder / "string.c"):
            objects.append(str(folder / f"{source.stem}.o"))
            level = "-O2" if source.stem in HOT else "-Oz"
            flags = ("--target=wasm32-unknown-unknown", "-std=c99", level, "-mbulk-memory", "-ffreestanding")
            switches = ("-DDCZ_WITH_ALL", "-DDCZ_NAME=0", f"-isystem{folder}", f"-I{DEVICE}")
            subprocess.run(["clang", *flags, *switches, "-c", str(source), "-o", objects[-1]], check=True)
        module = folder / "dcz.wasm"
        exports = [f"--export=dcz_{name}" for name in EXPORTS]
        link = ["wasm-ld", "--no-entry", "--strip-all", "--gc-sections", "-O2", *exports]
        subprocess.run([*link, *objects, "-o", str(module)], check=True)
        data = module.read_bytes()
        return {"raw": len(data), "gzip": len(gzip.compress(data, 9, mtime=0))}


if __name__ == "__main__":
    print(json.dumps({"speed": measure_speed(), "wasm": measure_wasm()}, indent=1))
