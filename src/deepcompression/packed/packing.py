"""Shared tensors -> packed weights: the forms that kernels compute from."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.sharing.grid import LIMITS, digits_on_grid
from deepcompression.tensors.dtypes import widen
from deepcompression.tensors.tensor import CompressedTensor

Packed = NDArray[np.uint8]

Floats = NDArray[np.float32]

ACTIVATIONS = ("float32", "int8")

FORMS = tuple(_core.forms())

# Of the form window, by their numbers in the header; core/packed/window/window.hpp describes them.
LAYOUTS = tuple(_core.layouts())

# For each instruction set and kind of activations: from so many vectors on, a form multiplies fastest where it pays.
# The first that does is taken, else `window`. The numbers are medians over layers of 4 to 25 %; those of neon come from
# counted instructions (benchmarks/results/neon_instructions.json).
FASTEST: dict[tuple[str, str], tuple[tuple[int, str], ...]] = {
    ("portable", "float32"): ((5, "panel"), (1, "factored"), (2, "panel")),
    ("portable", "int8"): ((5, "panel"), (1, "factored")),
    ("avx2", "float32"): ((2, "panel"), (1, "factored")),
    ("avx2", "int8"): ((5, "panel"),),
    ("avx512", "float32"): ((12, "panel"),),
    ("avx512", "int8"): ((48, "quad"),),
    ("neon", "float32"): ((9, "panel"), (2, "window"), (1, "factored")),
    ("neon", "int8"): ((16, "panel"),),
}

# `factored` pays from so many survivors of the same centroid in a row of a block, which has so many columns at most:
# with fewer, its fours stay too empty.
FACTORED_FROM, FACTORED_COLUMNS = 1.5, 8192

# From so many survivors a row on the layout digits24 of `window` multiplies one vector of float32 faster than by_slot:
# with fewer the exact sums of 8 products of planes, which are put together once a row, cost more than they save.
DIGITS24_FROM = 64


class Header(NamedTuple):
    """What packed weights say of themselves.

    form       one of FORMS
    code_bits  4, 5 or 8
    grid_bits  8 or 16 if the codebook lies on that grid, else 0
    layout     of the form window: which of LAYOUTS; else 0
    units      groups of rows or panels, which threads share; 0 in the form tile
    length     of the stream, in the form's measure; 0 in the form tile
    """

    form: str
    code_bits: int
    grid_bits: int
    layout: int
    rows: int
    columns: int
    survivors: int
    centroids: int
    units: int
    length: int
    scale8: float
    scale16: float


def header(packed: Packed) -> Header:
    """Raises ValueError for bytes that are no packed weights."""
    return Header(**_core.packed_header(packed))


def check_activations(activations: str) -> None:
    """Raises ValueError for an unknown one."""
    if activations not in ACTIVATIONS:
        raise ValueError(f"activations are {' or '.join(ACTIVATIONS)}; found {activations!r}")


def pack(
    tensor: CompressedTensor,
    activations: str = "float32",
    batch: int = 1,
    *,
    form: str | None = None,
) -> Packed:
    """A shared matrix -> packed weights.

    tensor       of two or more dimensions: the first is that of the outputs, all others together that of the inputs
    activations  what it will be multiplied by; the other works too, more slowly
    batch        by how many vectors at once; other numbers work too, more slowly
    form         "window" multiplies by few vectors, "factored" by one on portable and avx2, "panel" by many of float32,
                 "quad" by many of int8, "tile" decodes rows, for convolutions and embeddings; by default the one that
                 multiplies best

    Raises ValueError for fewer dimensions, unknown activations and forms.
    """
    check_activations(activations)
    if form not in (None, *FORMS):
        raise ValueError(f"weights are packed in the form {', '.join(FORMS)}; found {form!r}")
    if len(tensor.shape) < 2:
        raise ValueError(f"packed weights have two or more dimensions; found shape {list(tensor.shape)}")
    codebook = np.ascontiguousarray(widen(tensor.codebook, tensor.dtype), np.float32)
    matrix = _core.Matrix(tensor.shape[0], math.prod(tensor.shape[1:]), tensor.bits, tensor.codes, codebook)
    digits = _digits(codebook)
    way = (activations, batch, _core.instruction_set())
    form = form or form_for(matrix, digits, *way)
    return _core.pack(form, matrix, digits, layout_for(matrix, digits, *way) if form == "window" else "")


def form_for(matrix: _core.Matrix, digits: _core.Digits, activations: str, batch: int, instruction_set: str) -> str:
    """The form that multiplies so many vectors fastest with an instruction set, which this CPU need not have."""
    for vectors, form in FASTEST[instruction_set, activations]:
        if batch >= vectors and (form != "factored" or _factored_pays(matrix, digits, instruction_set)):
            return form
    return "window"


def _factored_pays(matrix: _core.Matrix, digits: _core.Digits, instruction_set: str) -> bool:
    # on a grid, integers take fewer instructions on neon
    if instruction_set == "neon" and digits.grid_bits:
        return False
    blocks = -(-matrix.columns // FACTORED_COLUMNS)
    return matrix.finite and matrix.survivors >= FACTORED_FROM * matrix.rows * blocks * matrix.centroids


def layout_for(matrix: _core.Matrix, digits: _core.Digits, activations: str, batch: int, instruction_set: str) -> str:
    """The layout of the form window that multiplies so many vectors fastest with an instruction set."""
    if batch == 1 and instruction_set == "avx512" and matrix.finite:
        if activations == "int8" or digits.grid_bits == 8:
            return "one_window"
        if matrix.survivors >= DIGITS24_FROM * matrix.rows:
            return "digits24"
    return "by_slot" if activations == "float32" and digits.grid_bits == 0 else "by_row"


def _digits(codebook: Floats) -> _core.Digits:
    """Those on the grid of the codebook; off every grid, the nearest of int8."""
    found = digits_on_grid(codebook)
    if found is not None and found.grid == "int8":
        return _core.Digits(8, found.scale, found.digits)
    nearest = nearest_digits(codebook, LIMITS["int8"])
    return _core.Digits(0, *nearest) if found is None else _core.Digits(16, *nearest, found.scale, found.digits)


def nearest_digits(codebook: Floats, limit: int) -> tuple[float, NDArray[np.int16]]:
    """The scale and the integers from -limit to limit whose products come near the centroids."""
    largest = float(np.abs(codebook).max(initial=0))
    if not largest or not math.isfinite(largest):
        return 1.0, np.zeros(len(codebook), np.int16)
    scale = float(np.float32(largest / limit))
    return scale, np.clip(np.rint(codebook / np.float64(scale)), -limit, limit).astype(np.int16)


def instruction_set() -> str:
    """The set of the kernels in use: the best that this CPU has, or the forced one."""
    return _core.instruction_set()
