"""One linear layer, 64 x 256 with a tenth of its weights, in each type and way of holding weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.device.boards import BOARDS, BOARDS_OF, BUILT, DEVICE, Board, build, run
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.tensor import DenseTensor

ROWS, COLS, DENSITY, SEED = 64, 256, 0.1, 1
PRE, POST, MULTIPLIER = 0, 13, 16

MARKED = ("dense int8", "int8, packed", "int8, coded", "float32, packed", "float32, coded")

CONTAINER = tuple(DEVICE / name for name in ("dcz.c", "rows.c"))
LAYER = tuple(
    DEVICE / f"nn_{name}.c" for name in ("linear_i8", "linear_f32", "linear_coded_i8", "linear_coded_f32", "coded")
)

Array = NDArray[Any]


def pairs_of(codes: Array, alive: Array) -> tuple[list[int], list[int]]:
    """The gaps and codes of each row's survivors, and their counts; no gap is above 255."""
    pairs: list[int] = []
    for row, places in zip(codes, map(np.flatnonzero, alive), strict=True):
        gaps = np.diff(places, prepend=-1) - 1
        pairs += np.stack([gaps, row[places] & 255], 1).reshape(-1).tolist()
    return pairs, alive.sum(1).tolist()


def c_array(kind: str, name: str, values: Any) -> str:
    flat = np.asarray(values).reshape(-1)
    texts = (f"{float(value)!r}f" for value in flat) if kind == "float" else map(str, flat.tolist())
    return f"static const {kind} {name}[] = {{{', '.join(texts)}}};\n"


def write_layer(folder: Path) -> dict[str, int]:
    """layer_data.h for device/boards/layer.c. Returns the bytes of each way."""
    rng = np.random.default_rng(SEED)
    alive = rng.random((ROWS, COLS)) < DENSITY
    centroids = np.sort(rng.choice(np.r_[-120:0, 1:121], 15, replace=False))
    book = np.concatenate([[0], centroids])
    codes = rng.integers(1, 16, (ROWS, COLS)) * alive
    x = rng.integers(-128, 128, COLS)
    bias = rng.integers(-1000, 1000, ROWS)
    weights = book[codes]
    sums = weights @ x + bias
    expected = np.clip(((sums >> PRE) * MULTIPLIER + (1 << (POST - 1))) >> POST, -127, 127)
    real = (book / 64).astype(np.float32)
    x_real = (x / 128).astype(np.float32)
    file = folder / "layer.dcz"
    tensors = {"int8": weights.astype(np.int8), "real": real[codes]}
    save_tensors(file, {name: DenseTensor.from_numpy(array) for name, array in tensors.items()}, profile="device")
    pairs, counts = pairs_of(weights, alive)
    constants = {"ROWS": ROWS, "COLS": COLS, "PRE": PRE, "POST": POST}
    arrays = {
        "pairs": ("uint8_t", pairs),
        "pairs_real": ("uint8_t", pairs_of(codes, alive)[0]),
        "counts": ("uint16_t", counts),
        "codebook": ("float", real),
        "x": ("int8_t", x),
        "x_real": ("float", x_real),
        "bias": ("int32_t", bias),
        "dense": ("int8_t", weights),
        "expected": ("int8_t", expected),
        "expected_real": ("float", real[codes].astype(np.float64) @ x_real),
        "file": ("uint8_t", np.frombuffer(file.read_bytes(), np.uint8)),
    }
    text = "".join(f"enum {{ {name} = {value} }};\n" for name, value in constants.items())
    text += f"static const int16_t multiplier = {MULTIPLIER};\n"
    text += "".join(c_array(kind, name, values) for name, (kind, values) in arrays.items())
    (folder / "layer_data.h").write_text("#include <stdint.h>\n" + text)
    return {
        "entries": int(alive.sum()),
        "dense": ROWS * COLS,
        "packed": len(pairs) + 2 * ROWS,
        "file": file.stat().st_size,
    }


def measure_layer(boards: tuple[Board, ...] = tuple(BOARDS_OF.values())) -> dict[str, Any]:
    """Instructions by board and way, and the layer's bytes."""
    BUILT.mkdir(parents=True, exist_ok=True)
    held = write_layer(BUILT)
    instructions = {}
    for board in boards:
        program = build(board, "layer", [BOARDS / "layer.c", *LAYER, *CONTAINER], (f"-I{BUILT}",))
        instructions[board.name] = dict(zip(MARKED, run(board, program).counts, strict=True))
    return {"bytes": held, "instructions": instructions}
