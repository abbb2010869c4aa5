"""The two ways to hold weights on a board: coded in a `.dcz` file, or packed into pairs of bytes (device/nn.h)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression.embedded.graph import Graph, weights_of

CODED, PACKED = "coded", "packed"
WAYS = (CODED, PACKED)

_MOST_GAP = 255
_MOST_PAIRS = 0xFFFF


class Packed(NamedTuple):
    """Survivors as pairs.

    pairs     uint8 (pairs, 2): gap and code
    counts    uint16 (rows,): the pairs of each row
    codebook  float32 (codes,), or None where a code is the weight
    """

    pairs: NDArray[np.uint8]
    counts: NDArray[np.uint16]
    codebook: NDArray[np.float32] | None

    @property
    def bytes(self) -> int:
        return sum(each.nbytes for each in self if each is not None)


@dataclass(frozen=True, eq=False)
class Held:
    """The weights of a layer on the board.

    name    of the weights in the model
    matrix  int8 or float32 (rows, columns)
    packed  None: they are coded
    tensor  the name of their tensor in the file, if coded, and its `number` there
    """

    name: str
    matrix: NDArray[Any]
    packed: Packed | None
    tensor: str = ""
    number: int = 0

    @property
    def way(self) -> str:
        return CODED if self.packed is None else PACKED

    @property
    def most(self) -> int:
        """The survivors of the row that has most."""
        return int(np.count_nonzero(self.matrix, axis=1).max(initial=0))


def hold(
    graph: Graph, matrices: Mapping[str, Sequence[NDArray[Any]]], packed: Callable[[str], bool]
) -> tuple[dict[str, tuple[Held, ...]], list[str]]:
    """The weights of each operator by its output, and notes on those that cannot be held as wished.

    matrices  of each operator that has weights, by its output
    packed    whether the weights of a name are to be packed
    """
    held: dict[str, tuple[Held, ...]] = {}
    notes: list[str] = []
    tensors: dict[str, NDArray[Any]] = {}
    for each in graph.calls:
        names = [weight.name for weight in weights_of(each)]
        found = [pack(each.name, matrix) for matrix in matrices[each.output]] if any(map(packed, names)) else []
        reasons = [reason for reason in found if isinstance(reason, str)]
        notes += [f"{each.name} is coded, not packed: it has {reason}" for reason in reasons]
        if found and not reasons:
            pairs = zip(names, matrices[each.output], found, strict=True)
            held[each.output] = tuple(Held(name, matrix, one) for name, matrix, one in pairs if isinstance(one, Packed))
        elif names:
            both = zip(names, matrices[each.output], strict=True)
            held[each.output] = tuple(_coded(name, matrix, tensors) for name, matrix in both)
    return held, notes


def _coded(name: str, matrix: NDArray[Any], tensors: dict[str, NDArray[Any]]) -> Held:
    """Coded weights; two layers of the same weights share one tensor."""
    tensor, count = name, 1
    while tensor in tensors and not np.array_equal(tensors[tensor], matrix):
        count += 1
        tensor = f"{name}#{count}"
    tensors[tensor] = matrix
    return Held(name, matrix, None, tensor, list(tensors).index(tensor))


def pack(layer: str, matrix: NDArray[Any]) -> Packed | str:
    """The pairs of a matrix, or the reason why it must be coded: too many distinct floats.

    Raises ValueError, naming the layer, if a row has more pairs than a count can say.
    """
    codebook = None
    if matrix.dtype == np.float32:
        # 0 is the code of zero, which fillers have
        codebook = np.concatenate([np.zeros(1, np.float32), np.unique(matrix[matrix != 0])])
        if len(codebook) > 256:
            return f"{len(codebook) - 1} distinct values; packed float32 weights have at most 255: share them first"
    rows, columns = np.nonzero(matrix)
    before = np.concatenate([[-1], columns[:-1]])
    before[np.flatnonzero(np.diff(rows, prepend=-1))] = -1
    gaps = columns - before - 1
    fillers = gaps // (_MOST_GAP + 1)
    ends = np.cumsum(fillers + 1)
    pairs = np.zeros((int(ends[-1]) if len(ends) else 0, 2), np.uint8)
    pairs[:, 0] = _MOST_GAP
    pairs[ends - 1, 0] = gaps % (_MOST_GAP + 1)
    values = matrix[rows, columns]
    codes = values.view(np.uint8) if codebook is None else np.searchsorted(codebook[1:], values) + 1
    pairs[ends - 1, 1] = codes
    counts = np.zeros(len(matrix), np.int64)
    np.add.at(counts, rows, fillers + 1)
    if counts.max(initial=0) > _MOST_PAIRS:
        raise ValueError(
            f"{layer}: a row has {int(counts.max())} pairs, and a count ends at {_MOST_PAIRS}: hold it coded, or prune "
            "it"
        )
    return Packed(pairs, counts.astype(np.uint16), codebook)
