"""Shared tensors -> packed weights: the forms that kernels compute from."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.sharing.grid import LIMITS, digits_on_grid
from deepcompression.tensors.dtypes import widen
from deepcompression.tensors.tensor import BitmapTensor, CompressedTensor

Packed = NDArray[np.uint8]

Floats = NDArray[np.float32]

ACTIVATIONS = ("float32", "int8")

FORMS = ("window", "panel", "tile", "quad", "factored")

# Of the form window, by their numbers in the header; core/packed/window/window.hpp describes them.
LAYOUTS = ("by_row", "by_slot", "digits24", "one_window")

# From so many vectors on other forms multiply faster than `window`, by medians over layers of 4 to 25 %; and which do.
# Without AVX-512 the look-ups of `window` cost more than those of `panel`, and `quad` has no kernel of its own.
if "avx512" in _core.instruction_sets():
    MANY_FROM, FORM_FOR_MANY = {"float32": 12, "int8": 48}, {"float32": "panel", "int8": "quad"}
else:
    MANY_FROM, FORM_FOR_MANY = {"float32": 2, "int8": 5}, {"float32": "panel", "int8": "panel"}

# With SSE2 or AVX2 `factored` multiplies one vector of float32 faster than `window`, from so many survivors of the
# same centroid in a row of a block, which has so many columns at most: with fewer, its fours stay too empty.
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
    tensor: CompressedTensor | BitmapTensor,
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
    if isinstance(tensor, CompressedTensor):
        tensor = BitmapTensor.of(tensor)
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    codebook = np.ascontiguousarray(widen(tensor.codebook, tensor.dtype), np.float32)
    if form is None:
        form = FORM_FOR_MANY[activations] if batch >= MANY_FROM[activations] else "window"
        if form == "window" and batch == 1:
            form = _form_for_one(rows, columns, tensor, codebook, activations)
    if form == "tile":
        return _core.pack_tile(rows, columns, tensor.bits, tensor.codes, codebook)
    if form == "panel":
        return _core.pack_panel(rows, columns, tensor.bits, tensor.codes, codebook)
    if form == "factored":
        return _core.pack_factored(rows, columns, tensor.bits, tensor.codes, codebook)
    scale8, int8 = nearest_digits(codebook, LIMITS["int8"])
    grid_bits, scale16, int16 = 0, 0.0, np.zeros(0, np.int16)
    found = digits_on_grid(codebook)
    if found is not None and found.grid == "int8":
        grid_bits, scale8, int8 = 8, found.scale, found.digits
    elif found is not None:
        grid_bits, scale16, int16 = 16, found.scale, found.digits
    if form == "quad":
        packed: Packed = _core.pack_quad(
            rows, columns, tensor.bits, tensor.codes, codebook, grid_bits == 8, scale8, int8
        )
        return packed
    layout = _window_layout(rows, tensor, codebook, grid_bits, activations, batch)
    return _core.pack_window(
        rows, columns, tensor.bits, tensor.codes, codebook, grid_bits, scale8, int8, scale16, int16, layout
    )


def _form_for_one(rows: int, columns: int, tensor: BitmapTensor, codebook: Floats, activations: str) -> str:
    """The form that multiplies one vector best with the instruction set in use."""
    if _core.instruction_set() not in ("portable", "avx2") or not np.isfinite(codebook).all():
        return "window"
    blocks = -(-columns // FACTORED_COLUMNS)
    pays = activations == "float32" and len(tensor.codes) >= FACTORED_FROM * rows * blocks * len(codebook)
    return "factored" if pays else "window"


def _window_layout(
    rows: int, tensor: BitmapTensor, codebook: Floats, grid_bits: int, activations: str, batch: int
) -> str:
    """The layout of the form window that multiplies best with the instruction set in use."""
    if batch == 1 and _core.instruction_set() == "avx512" and np.isfinite(codebook).all():
        if activations == "int8" or grid_bits == 8:
            return "one_window"
        if len(tensor.codes) >= DIGITS24_FROM * rows:
            return "digits24"
    return "by_slot" if activations == "float32" and not grid_bits else "by_row"


def nearest_digits(codebook: Floats, limit: int) -> tuple[float, NDArray[np.int16]]:
    """The scale and the integers from -limit to limit whose products come near the centroids."""
    largest = float(np.abs(codebook).max(initial=0))
    if not largest or not math.isfinite(largest):
        return 1.0, np.zeros(len(codebook), np.int16)
    scale = float(np.float32(largest / limit))
    return scale, np.clip(np.rint(codebook / np.float64(scale)), -limit, limit).astype(np.int16)


def instruction_set() -> str:
    """What the kernels for this CPU are compiled for, or are forced to be."""
    return _core.instruction_set()
