"""The two forms a tensor has outside of torch: dense, and compressed into codebook, codes and positions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.tensors.dtypes import (
    STORAGE,
    WEIGHT_DTYPES,
    Array,
    ordered_bits,
    unordered_bits,
    widen,
)

MAX_CENTROIDS = 256

# codes that are worked on at once
_SLICE = 1 << 20

_NUMPY_NAMES = {
    dtype: name for name, dtype in STORAGE.items() if name not in ("BF16", "F8_E4M3", "F8_E5M2", "BOOL")
} | {np.dtype("?"): "BOOL"}


@dataclass(frozen=True, eq=False)
class DenseTensor:
    """A tensor as it is.

    `dtype` is a name of `STORAGE`, `elements` a C-contiguous array of that storage dtype, in the tensor's shape.
    """

    dtype: str
    elements: Array

    def __post_init__(self) -> None:
        if self.dtype not in STORAGE:
            raise ValueError(f"unknown dtype {self.dtype!r}; known are {', '.join(STORAGE)}")
        if self.elements.dtype != STORAGE[self.dtype]:
            raise TypeError(f"{self.dtype} elements are held as {STORAGE[self.dtype]}, found {self.elements.dtype}")

    @classmethod
    def from_numpy(cls, array: Array) -> DenseTensor:
        """An ordinary array; raises TypeError for a dtype that no file can hold."""
        array = np.asarray(array)
        name = _NUMPY_NAMES.get(array.dtype.newbyteorder("<"))
        if name is None:
            known = ", ".join(str(dtype) for dtype in _NUMPY_NAMES)
            raise TypeError(f"a tensor of dtype {array.dtype} cannot be stored; possible are {known}")
        # ascontiguousarray would make a scalar one-dimensional
        return cls(name, np.array(array, STORAGE[name], copy=None, order="C"))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.elements.shape

    def dense(self) -> DenseTensor:
        return self

    def numpy(self) -> Array:
        """The values as an ordinary array: BF16 widened to float32, F8 as its bits in uint8, BOOL as bool."""
        return widen(self.elements, self.dtype)


@dataclass(frozen=True, eq=False)
class CompressedTensor:
    """A pruned and shared tensor: what sharing makes, encoding writes and running uses.

    shape      of the dense tensor
    positions  int64 (survivors,): strictly ascending indices of the survivors in the flat C-order tensor
    codebook   (centroids,): at most 256 values in the storage dtype of `dtype`
    codes      uint8 (survivors,): the centroid of each survivor
    dtype      one of `WEIGHT_DTYPES`

    Every other element is zero. Raises ValueError if the parts do not fit together.
    """

    shape: tuple[int, ...]
    positions: NDArray[np.int64]
    codebook: Array
    codes: NDArray[np.uint8]
    dtype: str = "F32"

    def __post_init__(self) -> None:
        if self.dtype not in WEIGHT_DTYPES:
            raise ValueError(f"dtype is one of {', '.join(WEIGHT_DTYPES)}; found {self.dtype}")
        found = {"positions": self.positions.dtype, "codes": self.codes.dtype, "codebook": self.codebook.dtype}
        expected = {"positions": np.dtype(np.int64), "codes": np.dtype(np.uint8), "codebook": STORAGE[self.dtype]}
        for part, dtype in found.items():
            if dtype != expected[part]:
                raise ValueError(f"{part} are {expected[part]}; found {dtype}")
        if self.codebook.ndim != 1 or len(self.codebook) > MAX_CENTROIDS:
            raise ValueError(f"a codebook has at most {MAX_CENTROIDS} centroids; found shape {self.codebook.shape}")
        if self.positions.ndim != 1 or self.codes.shape != self.positions.shape:
            raise ValueError(f"{self.positions.shape} positions do not go with {self.codes.shape} codes")
        if len(self.positions):
            if self.positions[0] < 0 or self.positions[-1] >= self.size or not (np.diff(self.positions) > 0).all():
                raise ValueError(f"positions must ascend strictly within 0..{self.size - 1}")
            if int(self.codes.max()) >= len(self.codebook):
                raise ValueError(f"code {self.codes.max()} is outside of a codebook of {len(self.codebook)} centroids")

    @property
    def size(self) -> int:
        """Number of elements of the dense tensor."""
        return math.prod(self.shape)

    @property
    def density(self) -> float:
        """Survivors / weights; 0 for a tensor without elements."""
        return len(self.positions) / self.size if self.size else 0.0

    def dense(self) -> DenseTensor:
        elements = np.zeros(self.size, STORAGE[self.dtype])
        elements[self.positions] = self.codebook[self.codes]
        return DenseTensor(self.dtype, elements.reshape(self.shape))

    def numpy(self) -> Array:
        """The dense values as an ordinary array (BF16 widened to float32)."""
        return self.dense().numpy()

    def canonical(self) -> CompressedTensor:
        """The same tensor in contiguous parts, its codebook strictly ascending (in the order of `ordered_bits`) and
        without centroids that no survivor has.
        """
        return BitmapTensor.of(self).canonical().compressed()

    @classmethod
    def from_dense(cls, tensor: DenseTensor) -> CompressedTensor | None:
        """Recognises a tensor that is already shared: at most 256 distinct non-zero elements, told apart by their
        bits.

        None if it has more, or is no weight. The codebook ascends; nothing is lost.
        """
        found = BitmapTensor.from_dense(tensor)
        return None if found is None else found.compressed()


@dataclass(frozen=True, eq=False)
class BitmapTensor:
    """A shared tensor as files hold it and packing takes it: an eighth of a byte an element, where the positions of a
    `CompressedTensor` take 8 bytes a survivor.

    bits  uint8: element i survives if bit i % 8 of byte i // 8 is set; bits behind the last element are not set
    codes, codebook, shape, dtype  as of a `CompressedTensor`
    """

    shape: tuple[int, ...]
    bits: NDArray[np.uint8]
    codebook: Array
    codes: NDArray[np.uint8]
    dtype: str = "F32"

    @classmethod
    def of(cls, tensor: CompressedTensor) -> BitmapTensor:
        bits = _core.bitmap_of(np.ascontiguousarray(tensor.positions), tensor.size)
        return cls(tensor.shape, bits, tensor.codebook, np.ascontiguousarray(tensor.codes), tensor.dtype)

    @classmethod
    def from_dense(cls, tensor: DenseTensor) -> BitmapTensor | None:
        """What `CompressedTensor.from_dense` recognises."""
        if tensor.dtype not in WEIGHT_DTYPES:
            return None
        storage = STORAGE[tensor.dtype]
        found = _core.recognise_shared(tensor.elements.reshape(-1).view(np.uint8), storage.itemsize)
        if found is None:
            return None
        bits, distinct, codes = found
        codebook = distinct.astype(f"<u{storage.itemsize}").view(storage)
        return cls(tensor.shape, bits, codebook, codes, tensor.dtype).canonical()

    @property
    def size(self) -> int:
        """Number of elements of the dense tensor."""
        return math.prod(self.shape)

    def canonical(self) -> BitmapTensor:
        """What `CompressedTensor.canonical` makes."""
        ordered, code = np.unique(ordered_bits(self.codebook, self.dtype), return_inverse=True)
        used = np.zeros(len(ordered), bool)
        for at in range(0, len(self.codes), _SLICE):
            used[code[np.flatnonzero(np.bincount(self.codes[at : at + _SLICE]))]] = True
        number = (np.cumsum(used) - 1).astype(np.uint8)[code]
        if np.array_equal(number, np.arange(len(self.codebook))):
            return self
        codes = np.empty_like(self.codes)
        for at in range(0, len(codes), _SLICE):
            codes[at : at + _SLICE] = number[self.codes[at : at + _SLICE]]
        codebook = unordered_bits(ordered[used], self.dtype)
        return BitmapTensor(self.shape, self.bits, codebook, codes, self.dtype)

    def dense(self) -> DenseTensor:
        elements = np.zeros(self.size, STORAGE[self.dtype])
        if len(self.codes):
            bits = self.bits if len(self.codes) < self.size else self.bits[:0]
            codebook = np.ascontiguousarray(self.codebook).view(np.uint8)
            _core.place_codes(self.codes, bits, codebook, elements.itemsize, elements.view(np.uint8))
        return DenseTensor(self.dtype, elements.reshape(self.shape))

    def compressed(self) -> CompressedTensor:
        positions = _core.positions_of(self.bits, self.size)
        return CompressedTensor(self.shape, positions, self.codebook, self.codes, self.dtype)


Tensor = DenseTensor | CompressedTensor

# What coders take.
Encodable = Tensor | BitmapTensor


def raw_bytes(tensor: DenseTensor) -> memoryview:
    """The elements in C order, as files hold them; copied only if they are in another order."""
    return np.ascontiguousarray(tensor.elements).reshape(-1).view(np.uint8).data
