"""The tasks of a case: ours, and those of other libraries, each with the bytes that its weight takes on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.gpu.plan import CENTROIDS, Case
from benchmarks.packages import UnavailableError
from deepcompression.packed import packing
from deepcompression.tensors.tensor import CompressedTensor

# A call gives y (batch, rows).
Made = tuple[Callable[[], Tensor], int]


class Task(NamedTuple):
    """ours   whether it computes from our packed weights
    dtype  of x and y
    bound  of the error, as part of the largest output
    """

    make: Callable[[Weight, Tensor], Made]
    ours: bool
    dtype: torch.dtype
    bound: float


class Weight:
    """A pruned, shared weight, dense and packed."""

    def __init__(self, case: Case, device: torch.device, seed: int = 1) -> None:
        random = np.random.default_rng(seed)
        survives = random.random(case.weights, np.float32) < case.density
        values = random.standard_normal(int(survives.sum()), np.float32)
        codebook = np.linspace(-2.5, 2.5, CENTROIDS, dtype=np.float32)
        codes = np.clip(np.rint((values + 2.5) * ((CENTROIDS - 1) / 5)), 0, CENTROIDS - 1).astype(np.uint8)
        bits = np.packbits(survives, bitorder="little")
        self.tensor = CompressedTensor.from_bits((case.rows, case.columns), bits, codebook, codes)
        self.device = device
        self.dense = torch.from_numpy(np.ascontiguousarray(self.tensor.numpy())).to(device)
        packed = packing.pack(self.tensor, form="word")
        self.header = packing.header(packed)
        self.packed = torch.from_numpy(packed).to(device)

    @property
    def bits_of_a_weight(self) -> float:
        return 8 * self.packed.numel() / self.dense.numel()


def ours(weight: Weight, x: Tensor) -> Made:
    from deepcompression.gpu.products import linear

    return lambda: linear(x, weight.packed, weight.header, None), weight.packed.numel()


def dense(weight: Weight, x: Tensor) -> Made:
    matrix = weight.dense.to(x.dtype)
    return lambda: F.linear(x, matrix), matrix.numel() * matrix.element_size()


@contextmanager
def _tf32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def tf32(weight: Weight, x: Tensor) -> Made:
    def call() -> Tensor:
        with _tf32():
            return F.linear(x, weight.dense)

    return call, weight.dense.numel() * 4


def csr(weight: Weight, x: Tensor) -> Made:
    matrix = weight.dense.to_sparse_csr()
    size = sum(part.numel() * part.element_size() for part in (matrix.crow_indices(), matrix.col_indices()))
    if len(x) == 1:
        return lambda: (matrix @ x[0])[None], size + 4 * matrix.values().numel()
    return lambda: (matrix @ x.T).T, size + 4 * matrix.values().numel()


def _torchao(config: str, **options: Any) -> Callable[[Weight, Tensor], Made]:
    def make(weight: Weight, x: Tensor) -> Made:
        from torchao import quantization

        rows, columns = weight.dense.shape
        layer = nn.Linear(columns, rows, bias=False, device=weight.device, dtype=x.dtype)
        layer.weight = nn.Parameter(weight.dense.to(x.dtype), requires_grad=False)
        module = nn.Sequential(layer)
        quantization.quantize_(module, getattr(quantization, config)(**options))
        if type(module[0].weight) is nn.Parameter:
            raise UnavailableError(f"torchao leaves a layer of {columns} columns as it is")
        return lambda: module(x), _bytes_of(module[0].weight)

    return make


def _bytes_of(tensor: Any) -> int:
    """Of a tensor, or of all tensors that a quantized one is made of."""
    names = tensor.__tensor_flatten__()[0] if hasattr(tensor, "__tensor_flatten__") else []
    if not names:
        return int(tensor.numel() * tensor.element_size())
    return sum(_bytes_of(getattr(tensor, name)) for name in names)


# The layout that tinygemm takes; that by default needs a package more.
_INT4 = {"group_size": 128, "int4_packing_format": "tile_packed_to_4d"}

FLOAT32, FLOAT16, BFLOAT16 = torch.float32, torch.float16, torch.bfloat16
OURS32, OURS16, DENSE32, DENSE16 = "ours float32", "ours float16", "cuBLAS fp32", "cuBLAS fp16"
TASKS = {
    OURS32: Task(ours, True, FLOAT32, 1e-5),
    OURS16: Task(ours, True, FLOAT16, 2e-3),
    "ours bfloat16": Task(ours, True, BFLOAT16, 1e-2),
    DENSE32: Task(dense, False, FLOAT32, 1e-5),
    DENSE16: Task(dense, False, FLOAT16, 5e-3),
    "cuBLAS bf16": Task(dense, False, BFLOAT16, 2e-2),
    "cuBLAS TF32": Task(tf32, False, FLOAT32, 5e-3),
    "torch sparse CSR fp32": Task(csr, False, FLOAT32, 1e-5),
    "torchao int8 weights": Task(_torchao("Int8WeightOnlyConfig"), False, BFLOAT16, 5e-2),
    "torchao int4 weights": Task(_torchao("Int4WeightOnlyConfig", **_INT4), False, BFLOAT16, 0.3),
}


def error(y: Tensor, exact: Tensor) -> float:
    """The largest error as part of the largest output."""
    return float((y.double() - exact).abs().max() / exact.abs().max())
