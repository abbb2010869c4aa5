"""The updates whose patches are pinned; small, so that fuzzing begins with them."""

from __future__ import annotations

from cases import dense, numbers, shared
from updates import Tensors

from deepcompression.tensors.tensor import CompressedTensor, DenseTensor

_PLACES = sorted({*range(0, 3600, 7), *range(90, 700, 3)})

WEIGHT = shared(3600, _PLACES, 8, shape=(60, 60))
OTHER_MASK = shared(3600, sorted({*_PLACES[::9], *range(63, 900, 40), *_PLACES} - {*_PLACES[4::11]}), 8, shape=(60, 60))
MORE_ROWS = shared(3840, [*_PLACES, *range(3600, 3840, 5)], 8, shape=(64, 60))

_BYTES = ((numbers(3600) % 50) * (numbers(3600, 2) % 4 == 0)).astype("u1").reshape(60, 60)
_RAISED = (_BYTES > 0) & (numbers(3600, 5).reshape(60, 60) % 3 == 0)
BYTES, OTHER_BYTES = DenseTensor("U8", _BYTES), DenseTensor("U8", _BYTES + _RAISED)

BEFORE: Tensors = {"w": WEIGHT, "b": dense("F32", (20,))}


def _codes_moved(tensor: CompressedTensor, every: int) -> CompressedTensor:
    codes = tensor.codes.copy()
    codes[::every] = (codes[::every] + 1) % len(tensor.codebook)
    return CompressedTensor.from_bits(tensor.shape, tensor.bits, tensor.codebook, codes)


def _raised(tensor: DenseTensor) -> DenseTensor:
    elements = tensor.elements.copy()
    elements.view("<u4")[:] += numbers(elements.size) % 1000
    return DenseTensor(tensor.dtype, elements)


# name -> OLD and NEW
UPDATES: dict[str, tuple[Tensors, Tensors]] = {
    "same": (BEFORE, BEFORE),
    "codes": (BEFORE, {**BEFORE, "w": _codes_moved(WEIGHT, 2)}),
    "few-codes": (BEFORE, {**BEFORE, "w": _codes_moved(WEIGHT, 29)}),
    "mask": (BEFORE, {**BEFORE, "w": OTHER_MASK}),
    "floats": (BEFORE, {**BEFORE, "b": _raised(dense("F32", (20,)))}),
    "rows": (BEFORE, {**BEFORE, "w": MORE_ROWS}),
    "bytes": ({"w": BYTES}, {"w": OTHER_BYTES}),
    "order": (BEFORE, dict(reversed(BEFORE.items()))),
}
