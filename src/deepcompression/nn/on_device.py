"""Computations from packed weights on devices other than the CPU: by Triton's kernels, or by torch's operations.

Nothing here waits for the device or copies from it, so that CUDA graphs can hold a call.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deepcompression import _core
from deepcompression.packed import torch_reference
from deepcompression.packed.convolution import ConvolutionSettings, Piece
from deepcompression.packed.packing import Header

if TYPE_CHECKING:
    from deepcompression.nn.uses import Use

# With so many vectors, and up to this density, kernels are expected to be no slower than dense products: they are bound
# by instructions, of which a survivor takes a few, as a dense product is by the bytes of its weights. Not measured.
FEW, MOST_DENSITY = 16, 0.5

# Survivors of a weight that kernels cannot number.
TOO_MANY = 1 << 31

# Weights of a convolution that kernels decode at once: 16 MB in float32.
_PIECE_WEIGHTS = 1 << 22


@functools.cache
def why_torch(device: torch.device) -> str | None:
    """The reason why torch's operations compute on a device; None for the CPU, and for devices with kernels."""
    if device.type in ("cpu", "meta"):
        return None
    from deepcompression.gpu.available import available

    return available(device)


def form_on(device: torch.device, use: Use) -> str | None:
    """The form for a use on a device; None where the CPU's fastest form is chosen by the weight."""
    if use in ("convolution", "embedding"):
        return "tile"
    if device.type == "cpu":
        return None
    return "tile" if why_torch(device) else "word"


def why_dense_on(device: torch.device, use: Use, density: float, batch: int | None) -> str | None:
    """The reason why a layer is expected to be slower on a device than dense, or None if it is not.

    batch  vectors at once; None for a number that nobody knows, which counts as few
    """
    if form_on(device, use) != "word":
        return f"each call on {device.type} would decode its rows, and then compute as dense does"
    if batch is not None and batch > FEW:
        return f"with more than {FEW} vectors, each call on {device.type} may decode its rows; found {batch}"
    if density > MOST_DENSITY:
        most = f"{100 * MOST_DENSITY:g} %"
        return f"{100 * density:.3g} % of the weights survive: above {most}, dense products are faster on {device.type}"
    return None


def why_refused(form: str, device: torch.device) -> str | None:
    """The reason why a device cannot compute from a form; None if it can."""
    if form == "tile" or device.type in ("cpu", "meta"):
        return None
    if form != "word":
        return f"packed in the form {form}, which only the CPU computes from; found the device {device}"
    reason = why_torch(device)
    return None if reason is None else f"packed in the form word, for GPUs with kernels; {device} has none: {reason}"


def kernel(device: torch.device) -> str:
    """What computes on a device: the CPU's instruction set, or Triton or torch elsewhere."""
    if device.type == "cpu":
        return _core.instruction_set()
    return f"{'torch' if why_torch(device) else 'Triton'} on {device.type}"


def product_on(x: Tensor, packed: Tensor, facts: Header, bias: Tensor | None) -> Tensor:
    """x (..., columns) of one of FLOATS -> (..., rows) of the same dtype, on a device other than the CPU."""
    if facts.form == "word":
        from deepcompression.gpu.products import linear

        return linear(x, packed, facts, bias)
    floats = None if bias is None else bias.to(torch.float32)
    return torch_reference.multiply(packed, facts, x.to(torch.float32), floats).to(x.dtype)


def rows_on(numbers: Tensor, packed: Tensor, facts: Header, dtype: torch.dtype) -> Tensor:
    """Rows (count, columns) by their numbers, int64 (count,), on a device other than the CPU."""
    if why_torch(packed.device) is not None:
        return torch_reference.decode_rows(packed, facts, numbers).to(dtype)
    from deepcompression.gpu.rows import decode_rows

    return decode_rows(packed, facts, numbers, dtype)


def convolution_on(
    x: Tensor,
    packed: Tensor,
    facts: Header,
    bias: Tensor | None,
    shape: tuple[int, ...],
    settings: ConvolutionSettings,
) -> Tensor:
    """The convolution of x, of the same dtype, on a device other than the CPU: torch computes from decoded rows."""
    if why_torch(packed.device) is not None:
        floats = None if bias is None else bias.to(torch.float32)
        return torch_reference.convolve(packed, facts, x.to(torch.float32), floats, shape, settings).to(x.dtype)

    def decode(piece: Piece) -> Tensor:
        numbers = torch.arange(piece.first, piece.first + piece.rows, device=packed.device)
        return rows_on(numbers, packed, facts, x.dtype).view(piece.rows, *shape[1:])

    own = None if bias is None else bias.to(x.dtype)
    return torch_reference.convolve_by_pieces(x, own, shape, settings, decode, _PIECE_WEIGHTS)
