"""Shared tensors -> packed weights: the forms that kernels compute from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deepcompression import _core
from deepcompression.tensors.dtypes import Floats, widen
from deepcompression.tensors.grid import LIMITS, digits_on_grid
from deepcompression.tensors.tensor import CompressedTensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

Packed = np.ndarray[Any, np.dtype[np.uint8]]

ACTIVATIONS = ("float32", "int8")

FORMS = tuple(_core.forms())

# The layouts of the form window by their numbers in the header (core/packed/window/window.hpp).
LAYOUTS = tuple(_core.layouts())


class Header(NamedTuple):
    """The header of packed weights.

    form       one of FORMS
    code_bits  4, 5 or 8
    grid_bits  8 or 16 if the codebook lies on that grid, else 0
    layout     number in LAYOUTS for the form window; pairs and parts of the form word (`word_shape`); else 0
    units      number of groups of rows, panels or blocks, which threads share; 0 in the form tile
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


def pack(
    tensor: CompressedTensor,
    activations: str = "float32",
    batch: int = 1,
    *,
    form: str | None = None,
    threads: int = 1,
    instruction_set: str | None = None,
) -> Packed:
    """A shared matrix -> packed weights.

    tensor       two or more dimensions: the first counts the outputs, all others together the inputs
    activations  kind of the vectors that it will multiply; the other kind works too, more slowly
    batch        number of vectors that it will multiply at once; other numbers work too, more slowly
    form         one of FORMS; by default the form that multiplies fastest on this CPU. `tile` does not
                 multiply: it decodes rows, for convolutions, embeddings and devices other than the CPU.
                 `word` is for products on GPUs, of at most 2^31 - 1 survivors
    threads      share the work; the bytes do not depend on them
    instruction_set  of the CPU that will multiply; by default the one in use here

    Raises ValueError for fewer dimensions, for unknown activations and forms, and for what a form cannot hold.
    """
    check_activations(activations)
    if form not in (None, *FORMS):
        raise ValueError(f"weights are packed in the form {', '.join(FORMS)}; found {form!r}")
    if len(tensor.shape) < 2:
        raise ValueError(f"packed weights have two or more dimensions; found shape {list(tensor.shape)}")
    codebook = np.ascontiguousarray(widen(tensor.codebook, tensor.dtype), np.float32)
    matrix = _core.Matrix(tensor.shape[0], math.prod(tensor.shape[1:]), tensor.bits, tensor.codes, codebook)
    digits = _digits(codebook)
    way = (activations, batch, instruction_set or _core.instruction_set())
    form = form or form_for(matrix, digits, *way)
    return _core.pack(form, matrix, digits, layout_for(matrix, digits, *way) if form == "window" else "", threads)


def form_for(matrix: _core.Matrix, digits: _core.Digits, activations: str, batch: int, instruction_set: str) -> str:
    """The form that multiplies so many vectors fastest. This CPU need not have the instruction set."""
    return _core.form_for(matrix, digits, activations == "int8", batch, instruction_set)


def layout_for(matrix: _core.Matrix, digits: _core.Digits, activations: str, batch: int, instruction_set: str) -> str:
    """The layout of the form window that multiplies so many vectors fastest."""
    return _core.layout_for(matrix, digits, activations == "int8", batch, instruction_set)


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
