"""Products by the core on tensors of the CPU, with the least time for a call."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, float32, nn, strided

from deepcompression import _core

# (packed, x, bias, int8, threads) -> x W^T + bias, or None unless the kernels take x (..., columns) and the bias
# (rows,) as they are: of the classes Tensor and Parameter, float32, contiguous, on the CPU.
Product = Callable[[Tensor, Tensor, Tensor | None, bool, int], Tensor | None]


def product_of_plain(packed: Tensor, x: Tensor, bias: Tensor | None, rows: int, int8: bool, threads: int) -> Tensor:
    """x (..., columns) -> (..., rows). All are float32, contiguous, on the CPU, and of shapes that fit."""
    y = x.new_empty(*x.shape[:-1], rows)
    bias_at = 0 if bias is None else bias.data_ptr()
    vectors = math.prod(x.shape[:-1])
    _core.multiply(packed.data_ptr(), packed.numel(), x.data_ptr(), vectors, bias_at, y.data_ptr(), int8, threads)
    return y


def by_addresses(packed: Tensor, x: Tensor, bias: Tensor | None, int8: bool, threads: int) -> Tensor | None:
    """The `Product` that asks tensors for their addresses: for every torch."""
    rows, columns = _core.packed_shape(packed.data_ptr(), packed.numel())
    if not _is_plain(x) or x.dim() == 0 or x.shape[-1] != columns:
        return None
    if bias is not None and (not _is_plain(bias) or bias.shape != (rows,)):
        return None
    return product_of_plain(packed, x, bias, rows, int8, threads)


def _is_plain(tensor: Tensor) -> bool:
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.dtype is float32
        and tensor.layout is strided
        and tensor.is_cpu
        and tensor.is_contiguous()
        and not tensor.is_neg()
        and not tensor._is_zerotensor()
    )


def _fastest() -> Product:
    """Through DLPack's table of functions, which torch has since 2.10: a call takes a third of the time."""
    table: Any = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    return by_addresses if table is None else cast(Product, _core.TensorProducts(table, Tensor, nn.Parameter).multiply)


product: Product = _fastest()
