"""A network ready to be written: its graph, arithmetic, weights and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deepcompression.embedded.arena import Arena, best_gap
from deepcompression.embedded.graph import (
    Affine,
    AveragePool,
    Conv,
    Graph,
    MaxPool,
    Operator,
    Recurrent,
    Window,
    weights_of,
)
from deepcompression.embedded.hold import Held
from deepcompression.embedded.integer import IntegerGraph, IntegerParts

# bytes of dcz_survivor, a survivor of a filter at work
_ENTRY_BYTES = 8

# bytes for each hidden element of a recurrent layer at work: (kind, in int8)
_STATE_BYTES = {("gru", True): 14, ("lstm", True): 18, ("gru", False): 24, ("lstm", False): 36}

_U8, _U16 = 0xFF, 0xFFFF


@dataclass(frozen=True, eq=False)
class Network:
    """name     in C
    integers     None: it computes in float32
    held         the weights of each operator, by its output
    coded_work   bytes that decoding each tensor takes, once the tensors are coded
    """

    name: str
    graph: Graph
    integers: IntegerGraph | None
    held: Mapping[str, tuple[Held, ...]]
    arena: Arena
    coded_work: Mapping[str, int]

    @property
    def element(self) -> str:
        """The C type of activations."""
        return "float" if self.integers is None else "int8_t"

    @property
    def kind(self) -> str:
        """The end of function names."""
        return "f32" if self.integers is None else "i8"

    @property
    def element_bytes(self) -> int:
        return 4 if self.integers is None else 1

    @property
    def coded(self) -> bool:
        """Whether any weights are in the `.dcz` file."""
        return any(each.packed is None for held in self.held.values() for each in held)

    def parts(self, each: Operator) -> IntegerParts:
        assert self.integers is not None
        return self.integers.parts[each.output]

    @property
    def work(self) -> int:
        """Bytes that one layer at work takes at most, a multiple of 4."""
        return max((self._work(each) for each in self.graph.calls), default=0)

    @property
    def memory(self) -> int:
        """Bytes of the arena, in which a layer at work takes what its values leave free; a multiple of 4."""
        return max(self.arena.size, *(sum(self.work_of(number)) for number in range(len(self.graph.calls))), 4)

    def work_of(self, number: int) -> tuple[int, int]:
        """Offset in the arena and bytes of what a call takes at work."""
        size = self._work(self.graph.calls[number])
        return best_gap(self.arena.free[number], size), size

    def _work(self, each: Operator) -> int:
        held = self.held.get(each.output, ())
        coded = max((_round_up(self.coded_work.get(one.tensor, 0)) for one in held if one.packed is None), default=0)
        if isinstance(each, Conv):
            # a row of the coder `raw`, in float32
            row = each.weight.columns * 4 if held[0].packed is None and not coded and self.integers is None else 0
            return coded + row + _ENTRY_BYTES * held[0].most
        if isinstance(each, Recurrent):
            return _round_up(_STATE_BYTES[each.kind, self.integers is not None] * each.hidden) + coded
        return coded


def _round_up(size: int) -> int:
    return -(-size // 4) * 4


def check_limits(each: Operator) -> None:
    """Raises ValueError, naming the layer, for weights that are not finite, and for sizes that the fields of
    device/nn.h cannot hold.
    """
    if isinstance(each, Conv | MaxPool | AveragePool):
        window = each.window
        wide = [*window.source, *window.target]
        narrow = [*window.stride, *window.padding]
        reaches = [(size - 1) * every for size, every in zip(window.kernel, window.dilation, strict=True)]
        if isinstance(each, Conv):
            narrow += [*window.kernel, *window.dilation, *reaches]
        else:
            wide += window.kernel
        if max(wide) > _U16 or max(narrow) > _U8:
            raise ValueError(
                f"{each.name}: {_shown(window)}: boards take sizes up to {_U16}; strides, padding and kernels of "
                f"convolutions up to {_U8}"
            )
    for weight in weights_of(each):
        if not np.isfinite(weight.values).all():
            raise ValueError(f"{each.name}: the weights {weight.name} are not all finite")
    if isinstance(each, Affine) and each.weight.rows * each.weight.columns >= 2**31:
        raise ValueError(f"{each.name}: {each.weight.rows} x {each.weight.columns} weights are too many for a board")


def _shown(window: Window) -> str:
    return (
        f"{shown(window.source)} -> {shown(window.target)}, kernel {shown(window.kernel)}, stride "
        f"{shown(window.stride)}, padding {shown(window.padding)}, dilation {shown(window.dilation)}"
    )


def shown(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
