"""The tensors of the good golden files, how each is encoded, and which layouts each must show."""

from __future__ import annotations

import numpy as np
from cases import CASES, GAP_BITS, dense, numbers, pruned, shared
from slow_blocks import symbols_of

from deepcompression.coding.encode_part import Encode
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, narrow
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import MAX_CENTROIDS, CompressedTensor, DenseTensor

# those of the first files, and those that came later
FIRST, LATER = list(STORAGE)[:16], list(STORAGE)[16:]

PRUNED = shared(600, sorted({*range(0, 600, 11), *range(100, 140, 3)}), 6)
EXAMPLE = {
    "fc.weight": CompressedTensor(
        (4, 4), np.array([0, 1, 3, 5, 12]), np.array([-0.5, 1.5], "<f4"), np.array([1, 0, 1, 1, 1], np.uint8)
    ),
    "fc.bias": DenseTensor("F32", np.array([0.5, -1.0], "<f4")),
}


def full(codes: np.ndarray, dtype: str = "F32") -> CompressedTensor:
    """Nothing pruned, the codes as given."""
    codebook = narrow(np.arange(1, MAX_CENTROIDS + 1, dtype=np.float32) / 8, dtype)
    return CompressedTensor((len(codes),), np.arange(len(codes)), codebook, codes.astype(np.uint8), dtype)


def planes(dtype: str, high: np.ndarray, low: np.ndarray) -> DenseTensor:
    """Elements of two bytes; with 257 values and more they are not shared."""
    bits = (high.astype(np.uint16) << 8 | low).astype("<u2")
    return DenseTensor(dtype, bits.view(STORAGE[dtype]))


def mask(survives: np.ndarray) -> DenseTensor:
    return DenseTensor("U8", survives.astype(np.uint8))


def levels(count: int, seed: int) -> np.ndarray:
    return numbers(count, seed) % 4


def in_classes(rows: int, columns: int, of_rows: bool, of_columns: bool) -> np.ndarray:
    """Rows and columns of some kinds; the densities of the crossings are far apart."""
    of_row = levels(rows, 1) * of_rows
    of_column = levels(columns, 2) * of_columns
    dense_of_256 = np.array([[1, 40, 3, 110], [60, 2, 20, 1], [1, 4, 200, 9], [3, 120, 1, 30]])
    draws = numbers(rows * columns, 3).reshape(rows, columns) % 256
    return draws < dense_of_256[of_row][:, of_column]


def in_columns(rows: int, columns: int) -> np.ndarray:
    """Survivors lie one below the other: near along columns, far along rows."""
    start, length = numbers(columns, 4) % rows, 3 + numbers(columns, 5) % 20
    at = np.arange(rows)[:, None]
    return (at >= start) & (at < start + length) & (numbers(columns, 6) % 9 == 0)


def in_patterns(kernels: int, width: int, known: int, seed: int) -> np.ndarray:
    """Every kernel is pruned by one of a few patterns."""
    patterns = numbers(known, seed) % 2**width
    of_kernel = patterns[numbers(kernels, seed + 1) % known]
    return (of_kernel[:, None] >> np.arange(width) & 1).astype(bool)


MASKS = {
    "none": np.zeros((8, 9), bool),
    "all": np.ones((8, 9), bool),
    "few": numbers(4000).reshape(40, 100) % 50 == 0,
    "most": numbers(4000).reshape(40, 100) % 50 != 0,
    "by columns": in_columns(300, 120),
    "rows in classes": in_classes(300, 200, True, False),
    "columns in classes": in_classes(300, 200, False, True),
    "both in classes": in_classes(300, 200, True, True),
    "patterns of 9": in_patterns(1200, 9, 6, 7).reshape(40, 30, 3, 3),
    "patterns of 4": in_patterns(1500, 4, 3, 9).reshape(50, 30, 2, 2),
    "without elements": np.zeros((3, 0), bool),
    "a scalar": np.ones((), bool),
}


def by(coder: str, tensors: dict) -> tuple[dict, dict, dict]:
    return tensors, {}, dict.fromkeys(tensors, Encode(coder=coder))


# file -> tensors, metadata, how
GOOD = {
    "worked-example": (EXAMPLE, {}, {"fc.weight": Encode(coder="huffman"), "fc.bias": Encode(coder="raw")}),
    "nothing": ({}, {}, {}),
    "every-dtype": (
        {f"{dtype} {len(shape)}": dense(dtype, shape) for dtype in FIRST for shape in [(), (2,), (2, 0)]},
        {},
        {},
    ),
    "every-coder": (
        dict.fromkeys(("raw", "sparse", "huffman"), PRUNED),
        {},
        {c: Encode(coder=c) for c in ("raw", "sparse", "huffman")},
    ),
    "every-gap-width": (
        {f"b{b}": PRUNED for b in GAP_BITS},
        {},
        {f"b{b}": Encode(coder="huffman", gap_bits=b) for b in GAP_BITS},
    ),
    "every-weight-dtype": by("huffman", {d: shared(600, list(range(0, 600, 2)), 5, d) for d in WEIGHT_DTYPES}),
    "many-centroids": by("huffman", {"w": shared(2000, list(range(2000)), MAX_CENTROIDS, "F16")}),
    "one-centroid": by("huffman", {"w": shared(5000, list(range(0, 5000, 250)), 1)}),
    "signs-and-nan": (
        {name: CASES[name] for name in ("signs of zero", "not finite", "F32 all zero")},
        {},
        {
            "signs of zero": Encode(coder="raw"),
            "not finite": Encode(coder="huffman"),
            "F32 all zero": Encode(coder="sparse"),
        },
    ),
    "ties-names-and-metadata": (
        {"größe": dense("I64", ()), "größer": Tie("größe"), "": dense("U8", (3,)), "x": Tie("größe")},
        {"größe": "€", "": "empty", "a\nb": ""},
        {},
    ),
    "fast-values-of-every-dtype": by(
        "fast",
        {f"{dtype} dense": dense(dtype, (5, 60)) for dtype in FIRST}
        | {f"{dtype} pruned": pruned(dtype, 300, [0, 5, 6, 99, 299]) for dtype in FIRST},
    ),
    "fast-codes-of-every-dtype": by(
        "fast",
        {d: shared(600, list(range(0, 600, 2)), 5, d, (20, 30)) for d in WEIGHT_DTYPES}
        | {f"{d} one centroid": shared(90, list(range(3, 90, 7)), 1, d) for d in WEIGHT_DTYPES}
        | {f"{d} 256 centroids": shared(1100, list(range(1100)), MAX_CENTROIDS, d) for d in WEIGHT_DTYPES},
    ),
    "fast-signs-and-nan": by("fast", {name: CASES[name] for name in ("signs of zero", "not finite", "F32 all zero")}),
    "fast-narrow-lanes": by("fast", {"w": full(symbols_of("exceptions", 66_000))}),
    "fast-wide-lanes": by("fast", {"w": full(symbols_of("rare others", 66_001), "BF16")}),
    "fast-values-in-lanes": by(
        "fast", {"w": planes("BF16", symbols_of("two", 66_000), symbols_of("rare others", 66_000))}
    ),
    "small-values-of-every-dtype": by(
        "small", {dtype: pruned(dtype, 300, [0, 5, 6, 99, 299]) for dtype in FIRST} | {"all": dense("I8", (300,))}
    ),
    "small-codes-of-every-dtype": by(
        "small",
        {d: shared(600, list(range(0, 600, 2)), 5, d, (20, 30)) for d in WEIGHT_DTYPES}
        | {f"{d} one centroid": shared(90, list(range(3, 90, 7)), 1, d) for d in WEIGHT_DTYPES}
        | {f"{d} in kernels": shared(540, list(range(0, 540, 3)), 16, d, (6, 10, 3, 3)) for d in WEIGHT_DTYPES}
        | {"256 centroids": shared(1100, list(range(1100)), MAX_CENTROIDS), "nothing": shared(40, [])},
    ),
    "deflate-of-every-dtype": (
        {d: pruned(d, 300, [0, 5, 6, 99, 299]) for d in FIRST}
        | {"all": dense("I16", (9, 30)), "none": dense("U8", (0,))},
        {},
        {d: Encode(coder="deflate") for d in (*FIRST, "all", "none")},
    ),
    "every-later-dtype": (
        {
            f"{coder} {dtype} {content}": tensor
            for dtype in LATER
            for coder in ("raw", "sparse", "fast", "small", "deflate")
            for content, tensor in (("dense", dense(dtype, (5, 7))), ("pruned", pruned(dtype, 300, [0, 8, 99, 299])))
        },
        {},
        {
            f"{coder} {dtype} {content}": Encode(coder=coder)
            for dtype in LATER
            for coder in ("raw", "sparse", "fast", "small", "deflate")
            for content in ("dense", "pruned")
        },
    ),
    "device-codes-of-every-dtype": by(
        "device",
        {d: shared(600, list(range(0, 600, 2)), 5, d, (20, 30)) for d in WEIGHT_DTYPES}
        | {f"{d} one centroid": shared(90, list(range(3, 90, 7)), 1, d) for d in WEIGHT_DTYPES}
        | {f"{d} 256 centroids": shared(1100, list(range(1100)), MAX_CENTROIDS, d) for d in WEIGHT_DTYPES}
        | {f"{d} with fillers": shared(90, [i for i in range(90) if i % 3], 6, d, (9, 10)) for d in WEIGHT_DTYPES}
        | {"nothing": shared(40, []), "none": dense("F32", (3, 0)), "a scalar": shared(1, [0], 1, shape=())},
    ),
    "device-bytes-of-every-dtype": by(
        "device",
        {f"{d} pruned": pruned(d, 300, [0, 5, 6, 99, 299]) for d in STORAGE if STORAGE[d].itemsize == 1}
        | {f"{d} dense": dense(d, (5, 7)) for d in STORAGE if STORAGE[d].itemsize == 1},
    ),
    "device-groups": by(
        "device",
        {
            "near": shared(36_000, np.flatnonzero(numbers(36_000, 12) % 10 == 0).tolist(), 16, shape=(120, 300)),
            "far": shared(400_000, np.flatnonzero(numbers(400_000, 13) % 90 == 0).tolist(), 200, "F16", (500, 800)),
        },
    ),
    "device-signs-and-nan": by(
        "device", {name: CASES[name] for name in ("signs of zero", "not finite", "F32 all zero")}
    ),
    "fast-masks": by("fast", {name: mask(survives) for name, survives in MASKS.items()}),
}

# file -> layouts of blocks, of masks, and kinds of sequences that it must hold
SHOWN = {
    "fast-values-of-every-dtype": ({0, 1}, set(), set()),
    "fast-codes-of-every-dtype": ({0, 1, 2}, set(), set()),
    "fast-narrow-lanes": ({3}, set(), set()),
    "fast-wide-lanes": ({4}, set(), set()),
    "fast-values-in-lanes": ({3, 4}, set(), set()),
    "fast-masks": (set(), {0, 1, 2, 4, 7}, {0, 1, 2, 3, 4}),
}
