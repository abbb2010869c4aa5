"""Tensors outside of torch: dense ones, and shared ones of bitmap, codebook and codes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcompression import _core
from deepcompression.tensors.dtypes import (
    ROW_BITS,
    STORAGE,
    WEIGHT_DTYPES,
    Array,
    Shape,
    ordered_bits,
    row_of,
    unordered_bits,
    unpacked_row,
    widen,
)
from deepcompression.tensors.slices import Bits, spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_CENTROIDS = 256

# NumPy's own dtypes; elements of other dtypes are held as unsigned integers, or in rows
_NUMPY_NAMES = {STORAGE[name]: name for name in ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "C64")} | {
    **{STORAGE[name]: name for name in ("U64", "U32", "U16", "U8")},
    **{np.dtype("?"): "BOOL", np.dtype("<c16"): "C128"},
}


@dataclass(frozen=True, eq=False, init=False)
class DenseTensor:
    """A tensor of plain elements.

    `dtype` is a name of `STORAGE`; `elements` is a C-contiguous array of that storage dtype, in the tensor's shape. In
    the dtypes of `ROW_BITS` it is the row of `row_of`, and the shape is given.
    """

    dtype: str
    elements: Array
    shape: Shape

    def __init__(self, dtype: str, elements: Array, shape: Shape | None = None) -> None:
        if dtype not in STORAGE:
            raise ValueError(f"unknown dtype {dtype!r}; known are {', '.join(STORAGE)}")
        if elements.dtype != STORAGE[dtype]:
            raise TypeError(f"{dtype} elements are held as {STORAGE[dtype]}, found {elements.dtype}")
        shape = elements.shape if shape is None else shape
        if elements.shape != (held := row_of(dtype, shape)[1]):
            raise ValueError(f"{list(shape)} of {dtype} are held as {list(held)}, found {list(elements.shape)}")
        # the class is frozen: attributes are set here alone
        self.__dict__.update(dtype=dtype, elements=elements, shape=shape)

    @classmethod
    def of_bytes(cls, dtype: str, shape: Shape, data: NDArray[np.uint8]) -> DenseTensor:
        """The tensor of its bytes in C order, in their memory."""
        return cls(dtype, data.view(STORAGE[dtype]).reshape(row_of(dtype, shape)[1]), shape)

    @classmethod
    def from_numpy(cls, array: Array) -> DenseTensor:
        """The tensor of an ordinary array. Raises TypeError for a dtype that no file can hold."""
        array = np.asarray(array)
        dtype = array.dtype.newbyteorder("<")
        name = _NUMPY_NAMES.get(dtype)
        if name is None:
            known = ", ".join(str(dtype) for dtype in _NUMPY_NAMES)
            raise TypeError(f"a tensor of dtype {array.dtype} cannot be stored; possible are {known}")
        # ascontiguousarray would make a scalar one-dimensional
        plain = np.array(array, dtype if name == "C128" else STORAGE[name], copy=None, order="C")
        return cls.of_bytes(name, plain.shape, plain.reshape(-1).view(np.uint8))

    def dense(self) -> DenseTensor:
        return self

    def row(self) -> DenseTensor:
        """The tensor as coders see it: the row that holds it, if its dtype has one."""
        dtype, _ = row_of(self.dtype, self.shape)
        return self if dtype == self.dtype else DenseTensor(dtype, self.elements)

    def numpy(self) -> Array:
        """The values as an ordinary array: BF16 widened to float32, BOOL as bool; other dtypes that NumPy does not have
        as the bits of each element, in unsigned integers.
        """
        if self.dtype in ROW_BITS:
            return unpacked_row(self.elements, self.dtype, self.shape)
        return widen(self.elements, self.dtype)


@dataclass(frozen=True, eq=False, init=False)
class CompressedTensor:
    """A pruned and shared tensor: sharing makes it, files hold it, packing takes it.

    shape     of the dense tensor
    bits      uint8: element i survives if bit i % 8 of byte i // 8 is set; bits behind the last element are zero
    codebook  (centroids,): at most 256 values in the storage dtype of `dtype`
    codes     uint8 (survivors,): the centroid of each survivor, in C order
    dtype     one of `WEIGHT_DTYPES`

    Every other element is zero.
    """

    shape: Shape
    bits: Bits
    codebook: Array
    codes: NDArray[np.uint8]
    dtype: str

    def __init__(
        self, shape: Shape, positions: NDArray[np.int64], codebook: Array, codes: NDArray[np.uint8], dtype: str = "F32"
    ) -> None:
        """From `positions`: int64 (survivors,), strictly ascending indices of the survivors in the flat C-order tensor.

        Raises ValueError if the parts do not fit together.
        """
        if positions.dtype != np.int64:
            raise ValueError(f"positions are int64; found {positions.dtype}")
        if positions.ndim != 1 or codes.shape != positions.shape:
            raise ValueError(f"{positions.shape} positions do not go with {codes.shape} codes")
        try:
            bits = _core.bitmap_of(np.ascontiguousarray(positions), math.prod(shape))
        except ValueError:
            raise ValueError(f"positions must ascend strictly within 0..{math.prod(shape) - 1}") from None
        self._hold(shape, bits, codebook, codes, dtype)

    @classmethod
    def from_bits(
        cls, shape: Shape, bits: Bits, codebook: Array, codes: NDArray[np.uint8], dtype: str = "F32"
    ) -> CompressedTensor:
        """From a bitmap, which must have one bit set for each code. Raises ValueError if the other parts do not fit."""
        tensor = cls.__new__(cls)
        tensor._hold(shape, bits, codebook, codes, dtype)
        return tensor

    def _hold(self, shape: Shape, bits: Bits, codebook: Array, codes: NDArray[np.uint8], dtype: str) -> None:
        if dtype not in WEIGHT_DTYPES:
            raise ValueError(f"dtype is one of {', '.join(WEIGHT_DTYPES)}; found {dtype}")
        if codes.dtype != np.uint8:
            raise ValueError(f"codes are uint8; found {codes.dtype}")
        if codebook.dtype != STORAGE[dtype]:
            raise ValueError(f"centroids are {STORAGE[dtype]}; found {codebook.dtype}")
        if codebook.ndim != 1 or len(codebook) > MAX_CENTROIDS:
            raise ValueError(f"a codebook has at most {MAX_CENTROIDS} centroids; found shape {codebook.shape}")
        if (largest := int(codes.max(initial=0))) >= len(codebook) and len(codes):
            raise ValueError(f"code {largest} is outside of a codebook of {len(codebook)} centroids")
        codebook, codes = np.ascontiguousarray(codebook), np.ascontiguousarray(codes)
        # the class is frozen: attributes are set here alone
        self.__dict__.update(shape=shape, bits=bits, codebook=codebook, codes=codes, dtype=dtype)

    @classmethod
    def from_dense(cls, tensor: DenseTensor) -> CompressedTensor | None:
        """Recognises a shared tensor, of at most 256 distinct non-zero elements, which are compared by their bits.

        None if it has more, or another dtype than a weight. The codebook ascends; nothing is lost.
        """
        if tensor.dtype not in WEIGHT_DTYPES:
            return None
        storage = STORAGE[tensor.dtype]
        found = _core.recognise_shared(tensor.elements.reshape(-1).view(np.uint8), storage.itemsize)
        if found is None:
            return None
        bits, distinct, codes = found
        codebook = distinct.astype(f"<u{storage.itemsize}").view(storage)
        return cls.from_bits(tensor.shape, bits, codebook, codes, tensor.dtype).canonical()

    @property
    def size(self) -> int:
        """Number of elements of the dense tensor."""
        return math.prod(self.shape)

    @property
    def positions(self) -> NDArray[np.int64]:
        """The indices of the survivors, ascending: computed at each call, with 8 bytes a survivor."""
        return _core.positions_of(self.bits, self.size)

    @property
    def density(self) -> float:
        """Survivors / weights; 0 for a tensor without elements."""
        return len(self.codes) / self.size if self.size else 0.0

    def dense(self) -> DenseTensor:
        elements = np.zeros(self.size, STORAGE[self.dtype])
        if len(self.codes):
            bits = self.bits if len(self.codes) < self.size else self.bits[:0]
            _core.place_codes(
                self.codes, bits, self.codebook.view(np.uint8), elements.itemsize, elements.view(np.uint8)
            )
        return DenseTensor(self.dtype, elements.reshape(self.shape))

    def numpy(self) -> Array:
        """The dense values as an ordinary array (BF16 widened to float32)."""
        return self.dense().numpy()

    def canonical(self) -> CompressedTensor:
        """The same tensor with a strictly ascending codebook (in the order of `ordered_bits`), without centroids that
        no survivor has.
        """
        ordered, code = np.unique(ordered_bits(self.codebook, self.dtype), return_inverse=True)
        used = np.zeros(len(ordered), bool)
        for span in spans(len(self.codes)):
            used[code[np.flatnonzero(np.bincount(self.codes[span]))]] = True
        number = (np.cumsum(used) - 1).astype(np.uint8)[code]
        if np.array_equal(number, np.arange(len(self.codebook))):
            return self
        codes = np.empty_like(self.codes)
        for span in spans(len(codes)):
            codes[span] = number[self.codes[span]]
        return CompressedTensor.from_bits(
            self.shape, self.bits, unordered_bits(ordered[used], self.dtype), codes, self.dtype
        )


Tensor = DenseTensor | CompressedTensor


def raw_bytes(tensor: DenseTensor) -> memoryview:
    """The elements in C order, as files hold them."""
    return np.ascontiguousarray(tensor.elements).reshape(-1).view(np.uint8).data
