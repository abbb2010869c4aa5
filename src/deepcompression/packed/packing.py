"""Shared tensors -> packed weights: the forms that kernels compute from."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.tensors.dtypes import Floats, widen
from deepcompression.tensors.grid import LIMITS, digits_on_grid
from deepcompression.tensors.tensor import CompressedTensor

Packed = NDArray[np.uint8]

ACTIVATIONS = ("float32", "int8")

FORMS = tuple(_core.forms())

# The layouts of the form window by their numbers in the header (core/packed/window/window.hpp).
LAYOUTS = tuple(_core.layouts())

# For each instruction set and kind of activations: the number of vectors from which a form multiplies fastest. The
# first form that pays is taken, else `window`. The numbers are medians over layers with densities of 4 to 25 %; those
# of neon come from counted instructions (benchmarks/results/neon_instructions.json).
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

# `factored` pays from so many survivors a centroid in a row of a block of so many columns. With fewer, its groups of
# four stay too empty.
FACTORED_FROM, FACTORED_COLUMNS = 1.5, 8192

# From so many survivors a row on, the layout digits24 multiplies one vector of float32 faster than by_slot. With fewer,
# adding up its 8 exact sums once a row costs more than they save.
DIGITS24_FROM = 64


class Header(NamedTuple):
    """The header of packed weights.

    form       one of FORMS
    code_bits  4, 5 or 8
    grid_bits  8 or 16 if the codebook lies on that grid, else 0
    layout     number in LAYOUTS for the form window, else 0
    units      number of groups of rows or of panels, which threads share; 0 in the form tile
    length     of the stream, in a unit of the form; 0 in the form tile
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
    """Reads the header. Raises ValueError for bytes that are no packed weights."""
    return Header(**_core.packed_header(packed))


def check_activations(activations: str) -> None:
    """Raises ValueError for an unknown kind of activations."""
    if activations not in ACTIVATIONS:
        raise ValueError(f"activations are {' or '.join(ACTIVATIONS)}; found {activations!r}")


def pack(tensor: CompressedTensor, activations: str = "float32", batch: int = 1, *, form: str | None = None) -> Packed:
    """A shared matrix -> packed weights.

    tensor       two or more dimensions: the first counts the outputs, all others together the inputs
    activations  kind of the vectors that it will multiply; the other kind works too, more slowly
    batch        number of vectors that it will multiply at once; other numbers work too, more slowly
    form         one of FORMS; by default the form that multiplies fastest (FASTEST). `tile` does not multiply: it
                 decodes rows, for convolutions, embeddings and devices other than the CPU

    Raises ValueError for fewer dimensions and for unknown activations and forms.
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
    """The form that multiplies so many vectors fastest. This CPU need not have the instruction set."""
    for vectors, form in FASTEST[instruction_set, activations]:
        if batch >= vectors and (form != "factored" or _factored_pays(matrix, digits, instruction_set)):
            return form
    return "window"


def _factored_pays(matrix: _core.Matrix, digits: _core.Digits, instruction_set: str) -> bool:
    # for a codebook on a grid, integers take fewer instructions on neon
    if instruction_set == "neon" and digits.grid_bits:
        return False
    blocks = -(-matrix.columns // FACTORED_COLUMNS)
    return matrix.finite and matrix.survivors >= FACTORED_FROM * matrix.rows * blocks * matrix.centroids


def layout_for(matrix: _core.Matrix, digits: _core.Digits, activations: str, batch: int, instruction_set: str) -> str:
    """The layout of the form window that multiplies so many vectors fastest."""
    if batch == 1 and instruction_set == "avx512" and matrix.finite:
        if activations == "int8" or digits.grid_bits == 8:
            return "one_window"
        if matrix.survivors >= DIGITS24_FROM * matrix.rows:
            return "digits24"
    return "by_slot" if activations == "float32" and digits.grid_bits == 0 else "by_row"


def _digits(codebook: Floats) -> _core.Digits:
    """The digits on the codebook's grid; for a codebook off every grid, the nearest of int8."""
    found = digits_on_grid(codebook)
    if found is not None and found.grid == "int8":
        return _core.Digits(8, found.scale, found.digits)
    nearest = nearest_digits(codebook, LIMITS["int8"])
    return _core.Digits(0, *nearest) if found is None else _core.Digits(16, *nearest, found.scale, found.digits)


def nearest_digits(codebook: Floats, limit: int) -> tuple[float, NDArray[np.int16]]:
    """The scale and the integers from -limit to limit whose products approximate the centroids."""
    largest = float(np.abs(codebook).max(initial=0))
    if not largest or not math.isfinite(largest):
        return 1.0, np.zeros(len(codebook), np.int16)
    scale = float(np.float32(largest / limit))
    return scale, np.clip(np.rint(codebook / np.float64(scale)), -limit, limit).astype(np.int16)
