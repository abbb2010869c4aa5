"""How kernels start: on the device of their tensors, compiled for their kind of arguments."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deepcompression.packed.packing import Header

# Options of Triton's compiler: a product and a sum are one instruction, whatever a version's default is.
COMPILED = {"enable_fp_fusion": True}

# From so many on, the form word has 32 bits for the number of a row or a column (core/packed/word/word.hpp).
_WIDE = 1 << 16

# Since this version of Triton a compiled kernel takes constants among its arguments, as the kernel itself does.
_HANDLES_SINCE = (3, 4)


class Launch:
    """A kernel for one weight. Triton looks at all arguments of each call, which takes longer than a small product;
    here it looks at those of the first call of a kind.

    kernel     its arguments are tensors, of which others than the first may be None, numbers, then constants. A number
               that differs among the calls of one weight is below 2^31, and named in its `do_not_specialize`
    constants  in the order of the arguments
    options    of Triton's compiler
    """

    def __init__(self, kernel: Any, constants: Mapping[str, int | bool], **options: int) -> None:
        self._kernel, self._named, self._constants = kernel, {**constants, **options, **COMPILED}, constants.values()
        # by the device and the dtypes of the tensors
        self._compiled: dict[tuple[object, ...], Any] = {}

    def __call__(self, grid: tuple[int, int, int], tensors: tuple[Tensor | None, ...], *numbers: int) -> None:
        """Starts it on the device of the tensors, and on its current stream."""
        first: Any = tensors[0]
        device = first.device
        if device.type == "cuda" and device.index != torch.cuda.current_device():
            with torch.cuda.device(device):
                self(grid, tensors, *numbers)
            return
        kind: list[object] = [device]
        addresses = 0
        for tensor in tensors:
            if tensor is None:
                kind.append(None)
            else:
                kind.append(tensor.dtype)
                addresses |= tensor.data_ptr()
        key = tuple(kind)
        # for addresses that are no multiples of 16 Triton compiles other code
        aligned = not addresses & 15
        compiled = self._compiled.get(key) if aligned else None
        if compiled is not None:
            compiled[grid](*tensors, *numbers, *self._constants)
            return
        found = self._kernel[grid](*tensors, *numbers, **self._named)
        # the interpreter compiles nothing
        if found is not None and aligned and _has_handles():
            self._compiled[key] = found


@functools.cache
def _has_handles() -> bool:
    import triton

    return tuple(map(int, triton.__version__.split(".")[:2])) >= _HANDLES_SINCE


def power_of_two(number: int) -> int:
    """The smallest power of two that is not below a positive number."""
    return 1 << (number - 1).bit_length()


def word_constants(facts: Header) -> dict[str, int | bool]:
    """The layout of the form word, by the names of the kernels' arguments."""
    return {
        "code_bits": facts.code_bits,
        "skip_bits": facts.layout & 15,
        "part_bits": facts.layout >> 4,
        "many": facts.rows >= _WIDE,
        "wide": facts.columns >= _WIDE,
    }
