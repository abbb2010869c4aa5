"""Calibration inputs: arrays by name, cut into the inputs of each run of a network (docs/without-training.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from deepcompression.tensors.dtypes import Array


class Expected(NamedTuple):
    """What a network says of one of its inputs.

    dtype  of its arrays, or None for any
    axes   the size of each, or None where any is possible; None if nothing is known of them
    """

    dtype: np.dtype[Any] | None = None
    axes: tuple[int | None, ...] | None = None

    def first(self) -> int | None:
        """The size that the first axis must have."""
        return self.axes[0] if self.axes else None

    def open(self) -> list[int]:
        """The axes that may count inputs: the first, and those of any size."""
        return [at for at, axis in enumerate(self.axes or (None,)) if not at or axis is None]

    def check(self, name: str, array: Array) -> None:
        """Raises ValueError for an array of another dtype or other sizes, without elements, or not finite."""
        extra = 0 if self.axes is None else array.ndim - len(self.axes)
        fits = extra in (0, 1)
        if fits and self.axes is not None:
            # the first axis may count inputs
            pairs = list(zip(self.axes, array.shape[extra:], strict=True))[1 - extra :]
            fits = all(axis is None or axis == size for axis, size in pairs)
        if not fits or (self.dtype is not None and array.dtype != self.dtype):
            dtype = array.dtype if self.dtype is None else self.dtype
            sizes = ["any" if axis is None else str(axis) for axis in self.axes or ()]
            own = "any shape" if self.axes is None else f"[{', '.join(['any', *sizes[1:]])}]" if sizes else "[]"
            raise ValueError(
                f"calibration input {name} is {array.dtype} {list(array.shape)}; expected {dtype} {own}"
                + ("" if self.axes is None else f", or [{', '.join(['runs', *sizes])}] with a part for each run")
            )
        if not array.size:
            raise ValueError(f"calibration inputs need one number of rows, and some: {name} is {list(array.shape)}")
        if np.issubdtype(array.dtype, np.floating) and (bad := np.count_nonzero(~np.isfinite(array))):
            raise ValueError(f"calibration input {name} has {bad} values that are not finite: mend the inputs")


def by_position(arrays: Mapping[str, Array]) -> list[Array]:
    """The arrays in the order of their numbers, if `numpy.savez` named all of them; else none."""
    if not all(re.fullmatch(r"arr_[0-9]+", name) for name in arrays):
        return []
    return [arrays[name] for name in sorted(arrays, key=lambda name: int(name[4:]))]


@dataclass(frozen=True)
class Inputs:
    """The inputs of a network in the smallest parts that it runs on.

    parts  of one run each, by name
    axes   those that parts may be joined along to run at once; empty if each part is a run of its own
    size   the number of inputs in a part
    """

    parts: list[dict[str, Array]]
    axes: dict[str, int]
    size: int

    @property
    def count(self) -> int:
        return len(self.parts) * self.size

    def chosen(self, numbers: Iterable[int]) -> Inputs:
        """Some of the parts, by their numbers."""
        return replace(self, parts=[self.parts[number] for number in numbers])

    def runs(self, most: int) -> list[dict[str, Array]]:
        """The inputs of each run: `most` at once, where the network takes any number."""
        if not self.axes:
            return self.parts
        return [self._joined(self.parts[at : at + most]) for at in range(0, len(self.parts), most)]

    def _joined(self, parts: list[dict[str, Array]]) -> dict[str, Array]:
        """One run of several parts; the first of them has what all share."""
        joined = {name: np.concatenate([part[name] for part in parts], axis) for name, axis in self.axes.items()}
        return {name: joined.get(name, array) for name, array in parts[0].items()}


def inputs_of(arrays: Mapping[str, Array], expected: Mapping[str, Expected]) -> Inputs:
    """The inputs in the arrays.

    An array with one axis more than its input has a part for each run. Another one is cut along the axis that counts
    inputs. Scalars, and arrays of the sizes that the network demands, go into every run. Raises ValueError for arrays
    that do not fit their inputs, or one another.
    """
    for name, each in expected.items():
        each.check(name, arrays[name])
    whole = {name for name, each in expected.items() if not arrays[name].ndim or arrays[name].shape == each.axes}
    fixed: int | None = None
    parted = {
        # with an ellipsis, a part without axes is an array still
        name: [arrays[name][run, ...] for run in range(len(arrays[name]))]
        for name, each in expected.items()
        if each.axes is not None and arrays[name].ndim > len(each.axes)
    }
    rest = {name: each for name, each in expected.items() if name not in parted and name not in whole}
    axes: dict[str, int] = {}
    size = 1
    if parted:
        cut = _for_each_run(arrays, rest, parted) | parted
    else:
        axes, fixed = _counted(arrays, rest)
        size = fixed or 1
        cut = {
            name: np.split(arrays[name], range(size, arrays[name].shape[axis], size), axis)
            for name, axis in axes.items()
        }
    count = len(next(iter(cut.values()))) if cut else 1
    parts = [{name: cut[name][run] if name in cut else arrays[name] for name in expected} for run in range(count)]
    return Inputs(parts, {} if parted or fixed else axes, size)


def _for_each_run(
    arrays: Mapping[str, Array], rest: Mapping[str, Expected], parted: Mapping[str, list[Array]]
) -> dict[str, list[Array]]:
    """The other arrays beside those with a part for each run: as many inputs as there are runs, or one for all."""
    lengths = {name: len(parts) for name, parts in parted.items()}
    count = next(iter(lengths.values()))
    found = {}
    for name, each in rest.items():
        length, fixed = len(arrays[name]), each.first()
        if length == count * (fixed or 1):
            found[name] = np.split(arrays[name], count)
        elif length != (fixed or 1):
            lengths[name] = length
    if len(set(lengths.values())) > 1:
        raise ValueError(f"calibration inputs need one number of runs: found {lengths}")
    return found


def _counted(arrays: Mapping[str, Array], rest: Mapping[str, Expected]) -> tuple[dict[str, int], int | None]:
    """The axis of each array that counts inputs, and the number that the network takes at once; None for any.

    The axis is the first; where arrays differ in its length, the one that the network leaves open and whose length all
    have in common.
    """
    if not rest:
        return {}, None
    axes = _counting({name: arrays[name].shape for name in rest}, rest)
    name, axis = next(iter(axes.items()))
    length = arrays[name].shape[axis]
    fixed = {size for name, axis in axes.items() if axis == 0 and (size := rest[name].first()) is not None}
    size = fixed.pop() if fixed else None
    if fixed:
        raise ValueError(
            f"calibration inputs need a part for each run: the network takes {size} of one, {fixed.pop()} of another"
        )
    if size is not None and length % size:
        raise ValueError(f"the model takes {size} inputs at once; found {length}, which is no multiple")
    return axes, size


def _counting(shapes: Mapping[str, tuple[int, ...]], rest: Mapping[str, Expected]) -> dict[str, int]:
    """The axis of each array that counts inputs."""
    if len({shape[0] for shape in shapes.values()}) == 1:
        return dict.fromkeys(shapes, 0)
    possible = {name: [(shape[at], at) for at in rest[name].open()] for name, shape in shapes.items()}
    for length, _ in next(iter(possible.values())):
        # the first axis of this length
        axes = {name: dict(reversed(each)).get(length) for name, each in possible.items()}
        if all(axis is not None for axis in axes.values()):
            return {name: axis for name, axis in axes.items() if axis is not None}
    found = {name: list(shape) for name, shape in shapes.items()}
    raise ValueError(
        f"calibration inputs need one number of rows, and some: found {found}; give arrays that differ one more axis "
        "in front, with a part for each run"
    )
