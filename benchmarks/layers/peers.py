"""Other libraries that compute y = x W^T: name -> kind and maker, for one layer, one x and a number of threads.

Work that can be done once is done before: packing, quantizing the weights, allocating y. x lies as the peer likes it
best. Rearranging x is not counted, quantizing it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from benchmarks.packages import UnavailableError

Array = NDArray[Any]
# A call without arguments that gives y (batch, rows), and the bytes of the weights as the peer holds them.
Made = tuple[Callable[[], Any], int]

FP32, BF16, INT8, INT4, SPARSE = "dense fp32", "dense bf16", "dense int8", "dense int4", "sparse"
ENGINE = "sparse engine"
ENGINES = ("fbgemm", "x86", "onednn", "qnnpack")
# max|error| / max|y| of a correct peer of each kind.
BOUNDS = {FP32: 1e-5, BF16: 2e-2, INT8: 5e-2, INT4: 2.5e-1, SPARSE: 1e-5, ENGINE: 5e-2}


class Layer:
    """A weight, float32 (rows, columns), with the forms that several peers start from, each made once."""

    def __init__(self, weight: NDArray[np.float32]) -> None:
        self.weight = weight
        self.rows, self.columns = weight.shape
        self._kept: dict[tuple[Any, ...], Any] = {}

    def keep(self, make: Callable[[], Any], *key: Any) -> Any:
        """The result of `make`, called once for a key: weights that are packed once for every batch."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    @cached_property
    def csr(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """Row starts, columns and values of the survivors."""
        flat = np.flatnonzero(self.weight)
        starts = np.searchsorted(flat, np.arange(self.rows + 1) * self.columns).astype(np.int32)
        return starts, (flat % self.columns).astype(np.int32), self.weight.reshape(-1)[flat]

    @cached_property
    def int8(self) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Levels, and a scale for each row."""
        scales = np.maximum(np.abs(self.weight).max(1), 1e-30) / np.float32(127)
        return np.rint(self.weight / scales[:, None]).astype(np.int8), scales

    def blocks(self, size: int, bits: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Levels around 2^(bits-1), (rows, blocks, size), the last block of a row padded with zeros; a scale for each
        block.
        """

        def quantize() -> tuple[Array, Array]:
            middle, count = 1 << (bits - 1), -(-self.columns // size)
            padded = np.zeros((self.rows, count * size), np.float32)
            padded[:, : self.columns] = self.weight
            padded = padded.reshape(self.rows, count, size)
            scales = np.maximum(np.abs(padded).max(2), 1e-30) / np.float32(middle - 1)
            padded /= scales[:, :, None]
            np.rint(padded, padded)
            padded += middle
            return padded.astype(np.uint8), scales

        levels, scales = self.keep(quantize, "blocks", size, bits)
        return levels, scales


@dataclass(frozen=True)
class Peer:
    kind: str
    make: Callable[[Layer, NDArray[np.float32], int], Made]


def size_bytes(*arrays: Any) -> int:
    return sum(int(array.nbytes) for array in arrays)


def numpy_dense(layer: Layer, x: Array, threads: int) -> Made:
    out = np.empty((len(x), layer.rows), np.float32)
    weight = layer.weight.T
    return lambda: np.matmul(x, weight, out), layer.weight.nbytes


def torch_dense(layer: Layer, x: Array, threads: int) -> Made:
    weight, given = torch.from_numpy(layer.weight), torch.from_numpy(x)
    return lambda: F.linear(given, weight), layer.weight.nbytes


def torch_onednn(layer: Layer, x: Array, threads: int) -> Made:
    """The operator that inductor makes of a linear layer when it freezes the weights."""
    weight, given = torch.from_numpy(layer.weight), torch.from_numpy(x)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))
    call = torch.ops.mkldnn._linear_pointwise.default
    return lambda: call(given, packed, None, "none", [], ""), layer.weight.nbytes


def torch_mkl(layer: Layer, x: Array, threads: int) -> Made:
    weight, given = torch.from_numpy(layer.weight), torch.from_numpy(x)
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, len(x))
    call, batch = torch.ops.mkl._mkl_linear.default, len(x)
    return lambda: call(given, packed, weight, None, batch), layer.weight.nbytes


def torch_bf16(layer: Layer, x: Array, threads: int, packed: bool = False) -> Made:
    """x is float32 and so is y: both are converted on the way."""
    weight, given = torch.from_numpy(layer.weight).bfloat16(), torch.from_numpy(x)
    if packed:
        reordered = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))
        call = torch.ops.mkldnn._linear_pointwise.default
        return lambda: call(given.bfloat16(), reordered, None, "none", [], "").float(), weight.nbytes
    return lambda: F.linear(given.bfloat16(), weight).float(), weight.nbytes


def torch_int8(layer: Layer, x: Array, threads: int, engine: str = "") -> Made:
    """The operator that torch.ao.nn.quantized.dynamic.Linear calls, as it calls it: without the last bit of x, which
    makes sums of 16 bits overflow.
    """
    if engine not in torch.backends.quantized.supported_engines:
        raise UnavailableError(f"this torch has no engine {engine}")

    def pack() -> Any:
        levels, scales = (torch.from_numpy(part) for part in layer.int8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zeros = torch.zeros(layer.rows, dtype=torch.int64)
            quantized = torch._make_per_channel_quantized_tensor(levels, scales.double(), zeros, 0)
            return torch.ops.quantized.linear_prepack(quantized, None)

    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    try:
        packed = layer.keep(pack, "torch int8", engine)
    finally:
        torch.backends.quantized.engine = before
    given = torch.from_numpy(x)
    call = torch.ops.quantized.linear_dynamic.default
    return lambda: call(given, packed, True), layer.weight.size


def _padded(x: Array, columns: int) -> torch.Tensor:
    """x with zeros after its columns."""
    given = torch.zeros(len(x), columns)
    given[:, : x.shape[1]] = torch.from_numpy(x)
    return given


def torch_weight_int8(layer: Layer, x: Array, threads: int) -> Made:
    """Computes in bfloat16; columns are padded to what the operator takes."""
    levels, scales = layer.int8
    padded = torch.zeros(layer.rows, -(-layer.columns // 32) * 32, dtype=torch.int8)
    padded[:, : layer.columns] = torch.from_numpy(levels)
    factors, given = torch.from_numpy(scales).bfloat16(), _padded(x, padded.shape[1])
    call = torch.ops.aten._weight_int8pack_mm.default
    return lambda: call(given.bfloat16(), padded, factors).float(), size_bytes(padded, factors)


def torch_weight_int4(layer: Layer, x: Array, threads: int, block: int = 128) -> Made:
    """Computes in bfloat16; columns and rows are padded to what the operator takes."""

    def pack() -> tuple[torch.Tensor, torch.Tensor]:
        levels, scales = layer.blocks(block, 4)
        blocks = scales.shape[1]
        rows = -(-layer.rows // 64) * 64
        padded = np.zeros((rows, blocks * block), np.int32)
        padded[: layer.rows] = levels.reshape(layer.rows, -1)
        pairs = np.zeros((blocks, rows, 2), np.float32)
        pairs[:, : layer.rows, 0] = scales.T
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(torch.from_numpy(padded), 1)
        return packed, torch.from_numpy(pairs).bfloat16()

    packed, pairs = layer.keep(pack, "torch int4", block)
    given = _padded(x, pairs.shape[0] * block)
    call = torch.ops.aten._weight_int4pack_mm_for_cpu.default
    return lambda: call(given.bfloat16(), packed, block, pairs)[:, : layer.rows].float(), size_bytes(packed, pairs)


PEERS = {
    "numpy (OpenBLAS)": Peer(FP32, numpy_dense),
    "torch fp32": Peer(FP32, torch_dense),
    "torch fp32, oneDNN packed": Peer(FP32, torch_onednn),
    "torch fp32, MKL packed": Peer(FP32, torch_mkl),
    "torch bf16": Peer(BF16, torch_bf16),
    "torch bf16, oneDNN packed": Peer(BF16, partial(torch_bf16, packed=True)),
    **{f"torch int8, {engine}": Peer(INT8, partial(torch_int8, engine=engine)) for engine in ENGINES},
    "torch int8 weights": Peer(INT8, torch_weight_int8),
    "torch int4 weights, block 32": Peer(INT4, partial(torch_weight_int4, block=32)),
    "torch int4 weights, block 128": Peer(INT4, partial(torch_weight_int4, block=128)),
}
# Other operators of torch, which on x86 are only plain loops: weight-only ones with float32 activations.
NOT_MEASURED = {
    "torch int8 and int4 weights, float32 activations": "on x86 only a reference loop, 100 times slower than in bf16",
    "torch int4, dynamic (_dyn_quant_matmul_4bit)": "on x86 only a reference loop, 100 times slower than int4 weights",
}
