"""Checkpoints from the middle of this package's own training: the masks and codebooks in them, applied."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from deepcompression.checkpoint.checkpoint import Checkpoint
from deepcompression.common.binary import LIMIT_BYTES, FormatError
from deepcompression.common.messages import some
from deepcompression.tensors.dtypes import WEIGHT_DTYPES, Shape, narrow, widen
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.grid import LIMITS, to_grid
from deepcompression.tensors.names import CODEBOOK_PARTS, MASK_PARTS, SIZE, plain_name, state_key, weight_of
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor

# the wrapper DistributedDataParallel puts it before all names
_MODULE = "module."


# The buffers of masks and codebooks.
_BUFFERS = {part for part in (*MASK_PARTS, *CODEBOOK_PARTS, SIZE) if part != "original"}


class _Weight(NamedTuple):
    """A pruned or shared weight: its name and those of its parts in the file, and its shape."""

    name: str
    parts: tuple[str, ...]
    shape: Shape
    grid: str | None = None

    def key(self, part: str) -> str:
        return state_key(self.name, part)


class FinishedCheckpoint(Checkpoint):
    """A checkpoint with the weights that the model computes, under plain names, in the place of the parameters, masks
    and codebooks of stages 1 and 2.
    """

    def __init__(self, source: Checkpoint, weights: list[_Weight]) -> None:
        self._source = source
        self.path, self.metadata, self.graph = source.path, source.metadata, source.graph
        # whoever reads the entries sees whether the folder still fits them
        self.folder = source.folder
        first = {weight.key("original"): weight for weight in weights}
        others = {weight.key(part) for weight in weights for part in weight.parts[1:]}
        kept = [name for name in source.entries if name not in others]
        plain = _plain([first[name].name if name in first else name for name in kept])
        self._parts: dict[str, _Weight | str] = {}
        self.entries: dict[str, TensorEntry] = {}
        roots: dict[tuple[str, ...], str] = {}
        for name, new in zip(kept, plain, strict=True):
            weight, entry = first.get(name), source.entries[name]
            self._parts[new] = weight or name
            keys = (name,) if weight is None else tuple(weight.key(part) for part in weight.parts)
            # a tie of the file holds if all parts are tied
            root = roots.setdefault(tuple(source.entries[key].tied_to or key for key in keys), new)
            shape = entry.shape if weight is None else weight.shape
            self.entries[new] = TensorEntry(new, entry.dtype, shape, None if root == new else root)
        found = [new for name, new in zip(kept, plain, strict=True) if name in first]
        note = f"{len(found)} tensors are pruned or shared, unfinished ({some(found)}): masks and codebooks are applied"
        changed = any(new not in (name, weight_of(name)) for name, new in zip(kept, plain, strict=True))
        wrapped = ", and names are those of the model without its wrappers" if changed else ""
        self.notes = (*source.notes, f"{note}{wrapped}.")

    def read(self, name: str) -> DenseTensor:
        weight = self._parts[name]
        if isinstance(weight, str):
            return self._source.read(weight)
        parts = {part: self._source.read(weight.key(part)) for part in weight.parts}
        original = parts["original"]
        if "0.mask" in parts:
            original.elements[parts["0.mask"].elements == 0] = 0
            return original
        centroids = original.elements
        try:
            if weight.grid is not None:
                centroids = to_grid(widen(centroids, original.dtype), weight.grid, original.dtype)
                centroids = narrow(centroids, original.dtype)
            positions, codes = parts["0.positions"].elements, parts["0.codes"].elements
            return CompressedTensor(weight.shape, positions, centroids, codes, original.dtype).dense()
        except ValueError as error:
            raise FormatError(f"{self.path}: {weight.name}: {error}; save it again from its training") from None

    def close(self) -> None:
        self._source.close()


def finished(source: Checkpoint) -> Checkpoint:
    """The same checkpoint, with masks and codebooks of this package's training applied. Reads only the shapes of shared
    weights.

    Raises ValueError for shared weights whose shape an older version did not store, and for weights that `run` packed,
    FormatError for damaged ones and for those without all their parts.
    """
    for name, entry in source.entries.items():
        packed = (each for each in source.entries if each.startswith(f"{name}.") and each.endswith(".packed"))
        if (entry.dtype, entry.shape) == ("U8", (0,)) and next(packed, None) is not None:
            raise ValueError(
                f"{source.path}: {name} is packed by dc.run and has no dense weight: compress the model that was "
                "passed to dc.run, or keep the file that it came from"
            )
    weights = list(_weights(source))
    _check_whole(source, {weight.name for weight in weights})
    return FinishedCheckpoint(source, weights) if weights else source


def _weights(source: Checkpoint) -> Iterator[_Weight]:
    for key, entry in source.entries.items():
        name = weight_of(key)
        if name is None or entry.dtype not in WEIGHT_DTYPES:
            continue

        def described(part: str, of: str = name) -> tuple[str, Shape] | None:
            found = source.entries.get(state_key(of, part))
            return None if found is None else (found.dtype, found.shape)

        if described("0.mask") == ("BOOL", entry.shape) and described("0.step") == described("0.recipe") == ("I64", ()):
            yield _Weight(name, MASK_PARTS, entry.shape)
        positions, codes = described("0.positions"), described("0.codes")
        if positions is not None and codes is not None and (positions[0], codes[0]) == ("I64", "U8"):
            grid = next((grid for grid in LIMITS if described(f"0.{grid}") is not None), None)
            parts = (*CODEBOOK_PARTS, SIZE) if grid is None else (*CODEBOOK_PARTS, SIZE, f"0.{grid}")
            yield _Weight(name, parts, _shape(source, name, entry), grid)


def _check_whole(source: Checkpoint, names: Collection[str]) -> None:
    """Raises FormatError for parts of a mask or codebook beyond those of the weights of these names."""
    found: dict[str, list[str]] = {}
    for key in source.entries:
        *module, within, local, number, part = ["", "", "", *key.split(".")]
        if within == "parametrizations" and f"{number}.{part}" in _BUFFERS:
            found.setdefault(".".join([*module[3:], local]), []).append(f"{number}.{part}")
    for name, parts in found.items():
        # one alone may be a buffer in a parametrization of others
        if len(parts) > 1 and name not in names:
            expected = MASK_PARTS if set(parts) & set(MASK_PARTS) else (*CODEBOOK_PARTS, SIZE)
            missing = [part for part in expected if state_key(name, part) not in source.entries]
            flaw = f"lacks {' and '.join(missing)}" if missing else "has parts of other dtypes or shapes than it has"
            raise FormatError(
                f"{source.path}: {name} is pruned or shared, unfinished, but {flaw}: save the state_dict "
                "of its training again, whole"
            )


def _shape(source: Checkpoint, name: str, centroids: TensorEntry) -> Shape:
    found = source.entries.get(state_key(name, SIZE))
    if found is None:
        raise ValueError(
            f"{source.path}: {name} is shared, unfinished, and an older version did not store its shape: bring a new "
            "model to this stage (dc.resume), and write it by dc.save"
        )
    if found.dtype == "I64" and len(found.shape) == 1:
        shape = tuple(map(int, np.atleast_1d(source.read(found.name).elements)))
        weight = TensorEntry(name, centroids.dtype, shape)
        if min(shape, default=0) >= 0 and math.prod(shape) < 1 << 63 and weight.nbytes <= LIMIT_BYTES:
            return shape
    raise FormatError(f"{source.path}: {found.name} is not the shape of a weight: it is damaged")


def _plain(names: list[str]) -> list[str]:
    """The names in the model without its wrappers, unless two would be the same."""
    plain = [plain_name(name) for name in names]
    if all(name.startswith(_MODULE) for name in plain):
        plain = [name.removeprefix(_MODULE) for name in plain]
    return plain if len(set(plain)) == len(names) else names
