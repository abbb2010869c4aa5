"""The tensors that the tests run over, and how they are compared."""

from __future__ import annotations

import numpy as np

from deepcompression.tensors.dtypes import ROW_BITS, STORAGE, WEIGHT_DTYPES, item_bits, narrow, size_bytes
from deepcompression.tensors.tensor import MAX_CENTROIDS, CompressedTensor, DenseTensor, Tensor

GAP_BITS = range(2, 17)


def numbers(count: int, seed: int = 1) -> np.ndarray:
    """uint32 numbers that depend on nothing but these lines: no library's generator may change golden files."""
    mixed = (np.arange(count, dtype=np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    for shift in (30, 27):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(32)).astype(np.uint32)


def dense(dtype: str, shape: tuple[int, ...], seed: int = 1) -> DenseTensor:
    """Any bits, NaN and infinity included."""
    return DenseTensor.of_bytes(dtype, shape, numbers(size_bytes(dtype, shape), seed).astype(np.uint8))


def pruned(dtype: str, size: int, positions: list[int]) -> DenseTensor:
    """Zero but for the positions, where values all differ and have a bit set; in a row, bytes do."""
    data = np.zeros(size_bytes(dtype, (size,)), np.uint8)
    places = np.array(positions, np.int64) * item_bits(dtype) // 8
    data[places] = 1 + np.arange(len(positions)) % 255
    return DenseTensor.of_bytes(dtype, (size,), data)


def shared(
    size: int, positions: list[int], centroids: int = 4, dtype: str = "F32", shape: tuple[int, ...] | None = None
) -> CompressedTensor:
    codebook = narrow(np.linspace(-1, 1, centroids, dtype=np.float32) + np.float32(0.001), dtype)
    codes = (numbers(len(positions)) % centroids).astype(np.uint8)
    return CompressedTensor(shape or (size,), np.array(positions, np.int64), codebook, codes, dtype)


def all_cases() -> dict[str, Tensor]:
    cases: dict[str, Tensor] = {}
    for dtype in STORAGE:
        for shape in [(), (1,), (0,), (3, 0, 2), (7,), (2, 3, 4)]:
            cases[f"{dtype} {list(shape)}"] = dense(dtype, shape)
        if dtype in ROW_BITS and dtype not in ("C128", "F4"):
            continue
        cases[f"{dtype} all zero"] = DenseTensor.of_bytes(dtype, (5, 4), np.zeros(size_bytes(dtype, (5, 4)), np.uint8))
        cases[f"{dtype} first"] = pruned(dtype, 300, [0])
        cases[f"{dtype} last"] = pruned(dtype, 300, [299])
        cases[f"{dtype} both ends"] = pruned(dtype, 70_000, [0, 69_999])
        cases[f"{dtype} some"] = pruned(dtype, 900, list(range(3, 900, 29)))
    for dtype in WEIGHT_DTYPES:
        cases[f"{dtype} one value"] = shared(64, list(range(64)), 1, dtype)
        cases[f"{dtype} 256 centroids"] = shared(4096, list(range(0, 4096, 3)), MAX_CENTROIDS, dtype, (64, 64))
        cases[f"{dtype} no survivor"] = shared(9, [], 4, dtype, (3, 3))
        cases[f"{dtype} full"] = shared(24, list(range(24)), 3, dtype, (2, 3, 4))
        cases[f"{dtype} one element"] = shared(1, [0], 1, dtype, ())
    for bits in GAP_BITS:
        for step in (2**bits - 1, 2**bits, 2**bits + 1, 3 * 2**bits + 1):
            cases[f"step {step}, about 2^{bits}"] = shared(2 * step + 2, [0, step, 2 * step], 2)
    cases["signs of zero"] = DenseTensor("F32", np.array([0.0, -0.0, 1.0, -0.0], "<f4"))
    cases["not finite"] = DenseTensor("F32", np.array([np.nan, np.inf, -np.inf, 0, -np.nan] * 9, "<f4"))
    cases["257 values"] = DenseTensor("F32", np.arange(1, 258, dtype="<f4"))
    cases["256 values"] = DenseTensor("F32", np.tile(np.arange(256, dtype="<f4"), 8))
    cases["a centroid that is zero"] = CompressedTensor(
        (6,), np.array([1, 2, 5]), np.array([0.0, 2.0], "<f4"), np.array([0, 1, 0], np.uint8)
    )
    cases["centroids unused, twice, unsorted"] = CompressedTensor(
        (6,), np.array([0, 2, 3, 5]), np.array([3, -1, 3, 9], "<f4"), np.array([2, 1, 0, 1], np.uint8)
    )
    return cases


def large_cases() -> dict[str, Tensor]:
    """More survivors than a stream may have; the second reader takes a second for them together."""
    size = 66_003
    some = np.flatnonzero(numbers(3 * size, 2) % 2)[:size]
    skewed = np.minimum(numbers(size) % 8, numbers(size, 3) % 8)
    rare = np.where(numbers(size, 4) % 999 == 0, numbers(size, 5) % 256, skewed).astype(np.uint8)
    peak = np.minimum.reduce([numbers(size, 6 + i) % 256 for i in range(8)]).astype(np.uint8)
    codebook = np.arange(-128, 128, dtype="<f4") + np.float32(0.5)
    plain = (numbers(size, 9) % 256).astype(np.uint8)
    bits = (peak.astype("<u4") << 24 | rare.astype("<u4") << 16 | 1).view("<f4")
    return {
        "narrow lanes": CompressedTensor((size,), np.arange(size), codebook, rare),
        "wide lanes": CompressedTensor((3 * size,), some, codebook, peak),
        "plain": CompressedTensor((3 * size,), some, codebook, plain),
        "values in lanes": DenseTensor("F32", bits),
        "values of 8 bits": DenseTensor("I8", peak.view("i1")),
    }


def lenet5() -> dict[str, Tensor]:
    """The shapes of the paper's LeNet-5, pruned to 8 % and shared."""
    tensors: dict[str, Tensor] = {}
    for name, shape in {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (500, 800), "fc2": (10, 500)}.items():
        size = int(np.prod(shape))
        tensors[f"{name}.weight"] = shared(size, list(range(0, size, 12)), 32, shape=shape)
        tensors[f"{name}.bias"] = dense("F32", shape[:1])
    return tensors


CASES = all_cases()
LARGE = large_cases()


def content(tensor: Tensor) -> tuple[str, tuple[int, ...], bytes]:
    """Everything that makes two tensors the same, bit for bit."""
    whole = tensor.dense()
    return whole.dtype, tuple(whole.shape), whole.elements.tobytes()
