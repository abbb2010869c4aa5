"""What all launches share: the current device, and the numbers that a kernel is compiled for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from deepcompression.packed.packing import Header

# Options of Triton's compiler: a product and a sum are one instruction, whatever a version's default is.
COMPILED = {"enable_fp_fusion": True}

# From so many on, the form word has 32 bits for the number of a row or a column (core/packed/word/word.hpp).
_WIDE = 1 << 16


def on_device(x: Tensor) -> AbstractContextManager[object]:
    """Makes the device of x the current one, on which Triton launches."""
    return torch.cuda.device(x.device) if x.is_cuda and x.device.index != torch.cuda.current_device() else nullcontext()


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
