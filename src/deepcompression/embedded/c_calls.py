"""The graph as C: for each operator its constants, and the call of the device's library."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping

import numpy as np

from deepcompression.embedded.arena import ALIGNMENT
from deepcompression.embedded.c_constants import Constants
from deepcompression.embedded.c_text import WIDTH, comment, number
from deepcompression.embedded.graph import (
    Add,
    Affine,
    AveragePool,
    Clip,
    Clipped,
    Concat,
    Conv,
    Copy,
    Linear,
    MaxPool,
    Multiply,
    Operator,
    Pairwise,
    Recurrent,
    Scale,
    Softmax,
    Unary,
)
from deepcompression.embedded.network import Network, shown

_AXES = "ijklmnpq"


class Calls(Constants):
    """The C text of all operators.

    body  of the function that runs the network
    """

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.body: list[str] = []
        self._roots = network.graph.roots()
        for self._number, each in enumerate(network.graph.calls):
            head = comment(f"{each.name}: {_title(each)}")
            before = len(self.definitions)
            calls = _RULES[type(each)](self, each)
            if network.integers is None and isinstance(each, Clipped) and not isinstance(each, Clip):
                calls += self._limits(each)
            if len(self.definitions) > before:
                self.definitions.insert(before, head)
            self.body += [comment(f"{each.name}: {_title(each)}", "  "), *calls]
        result = self._roots[network.graph.output]
        if result.value not in network.arena.output:
            size = network.graph.size(network.graph.output) * network.element_bytes
            self.body.append(f"  memcpy(output, {self.place(network.graph.output)}, {size});")

    # names and places

    def place(self, value: str) -> str:
        """A value as a C expression."""
        root, offset = self._roots[value]
        if root == self.network.graph.input:
            base = "input"
        elif root in self.network.arena.output:
            base = "output"
        else:
            base = "arena"
            offset += self.network.arena.offsets[root] // self.network.element_bytes
        return f"{base} + {offset}" if offset else base

    def _at(self, value: str, offset: int) -> str:
        return f"{self.place(value)} + {offset}" if offset else self.place(value)

    def _work(self) -> str:
        """The part of the arena that the operator works in, and its size."""
        offset, size = self.network.work_of(self._number)
        return f"state->arena + {offset // ALIGNMENT}, {size}" if size else "NULL, 0"

    def _xy(self, each: Operator) -> str:
        return ", ".join(self.place(name) for name in (*each.inputs, each.output))

    # statements

    def _limits(self, each: Clipped) -> list[str]:
        """ReLU and its kin behind a function of float32 that has none of its own."""
        done = isinstance(each, Affine) and not each.scaled
        if done or (each.low == -np.inf and each.high == np.inf):
            return []
        return [self._clip_f32(each, self.place(each.output))]

    def _clip_f32(self, each: Clipped, x: str) -> str:
        y, size = self.place(each.output), self.network.graph.size(each.output)
        return f"  dcz_clip_f32({number(each.low)}, {number(each.high)}, {x}, {y}, {size});"

    def linear(self, each: Linear) -> list[str]:
        held = self.network.held[each.output][0]
        matrix = self._matrix(each, held)
        weights, before = self._weights(held)
        x, y = self.place(each.inputs[0]), self.place(each.output)
        function = f"dcz_linear_{self.network.kind}_{held.way}"
        if each.vectors > 1:
            rows, columns = held.matrix.shape
            call = _checked(
                f"{function}({matrix}, {weights}, {x} + at * {columns}, {y} + at * {rows}, {self._work()})", "    "
            )
            made = [*before, f"  for (uint32_t at = 0; at < {each.vectors}; ++at) {{", *call, "  }"]
        else:
            made = [*before, *_checked(f"{function}({matrix}, {weights}, {x}, {y}, {self._work()})")]
        return made + self._scaled(each, each.vectors, 1)

    def conv(self, each: Conv) -> list[str]:
        held = self.network.held[each.output][0]
        window, matrix = self._window(each.window, each.groups), self._matrix(each, held)
        weights, before = self._weights(held)
        arguments = f"{window}, {matrix}, {weights}, dcz_unpack_{held.way}, {self._xy(each)}, {self._work()}"
        call = f"dcz_conv_{self.network.kind}({arguments})"
        plane = each.window.target[1] * each.window.target[2]
        return [*before, *_checked(call), *self._scaled(each, 1, plane)]

    def _scaled(self, each: Affine, vectors: int, plane: int) -> list[str]:
        """A folded BatchNorm: in float32 a call of its own, in int8 a part of the multipliers."""
        if self.network.integers is not None or not each.scaled:
            return []
        factor, offset = self._array("factor", each.scale), self._array("offset", each.bias)
        y, rows = self.place(each.output), len(each.bias)
        if vectors == 1:
            return [f"  dcz_scale_f32({factor}, {offset}, {y}, {y}, {rows}, {plane});"]
        return [
            f"  for (uint32_t at = 0; at < {vectors}; ++at)",
            f"    dcz_scale_f32({factor}, {offset}, {y} + at * {rows}, {y} + at * {rows}, {rows}, 1);",
        ]

    def pool(self, each: MaxPool | AveragePool) -> list[str]:
        window = each.window
        fields = (*window.source, *window.target[1:], *window.kernel, *window.stride, *window.padding)
        padding = int(isinstance(each, AveragePool) and each.whole)
        pool = self._struct("dcz_pool", "pool", *map(str, (*fields, padding)))
        if isinstance(each, MaxPool):
            return [f"  dcz_max_pool_{self.network.kind}({pool}, {self._xy(each)});"]
        to = "" if self.network.integers is None else f"{self._to(self.network.parts(each).to[0])}, "
        return [f"  dcz_average_pool_{self.network.kind}({pool}, {to}{self._xy(each)});"]

    def unary(self, each: Unary) -> list[str]:
        if self.network.integers is not None:
            table = self.network.parts(each).table
            assert table is not None
            return [f"  dcz_table_i8({self._array('table', table)}, {self._xy(each)}, {each.size});"]
        given = "".join(f"{number(float(each_one))}, " for each_one in each.parameters)
        return [f"  dcz_{each.function}_f32({given}{self._xy(each)}, {each.size});"]

    def clip(self, each: Clip) -> list[str]:
        if self.network.integers is None:
            return [self._clip_f32(each, self.place(each.inputs[0]))]
        return [f"  dcz_rescale_i8({self._to(self.network.parts(each).to[0])}, {self._xy(each)}, {each.size});"]

    def scale(self, each: Scale) -> list[str]:
        sizes = f"{len(each.scale)}, {each.each}"
        if self.network.integers is None:
            factor, offset = self._array("factor", each.scale), self._array("offset", each.offset)
            return [f"  dcz_scale_f32({factor}, {offset}, {self._xy(each)}, {sizes});"]
        parts = self.network.parts(each)
        to, offset = self._to(parts.to[0]), self._array("offset", parts.biases[0])
        return [f"  dcz_scale_i8({to}, {offset}, {self._xy(each)}, {sizes});"]

    def pairwise(self, each: Pairwise) -> list[str]:
        name = "add" if isinstance(each, Add) else "multiply"
        to = "" if self.network.integers is None else f"{self._to(self.network.parts(each).to[0])}, "
        sizes = f"1, {each.size}, 1" if each.each == 1 else f"{each.size // each.each}, {each.each}, 0"
        return [f"  dcz_{name}_{self.network.kind}({to}{self._xy(each)}, {sizes});"]

    def concat(self, each: Concat) -> list[str]:
        made, at, whole = [], 0, sum(each.sizes)
        for part, (name, size) in enumerate(zip(each.inputs, each.sizes, strict=True)):
            y, x = self._at(each.output, at), self.place(name)
            if each.rows > 1:
                y, x = f"{y} + at * {whole}", f"{x} + at * {size}"
            integers = self.network.integers
            if integers is None or integers.scales[name] == integers.scales[each.output]:
                made.append(f"  memcpy({y}, {x}, {size * self.network.element_bytes});")
            else:
                to = self._to(self.network.parts(each).to[part], f"to_{part}")
                made.append(f"  dcz_rescale_i8({to}, {x}, {y}, {size});")
            at += size
        if each.rows == 1:
            return made
        return [f"  for (uint32_t at = 0; at < {each.rows}; ++at) {{", *(f"  {line}" for line in made), "  }"]

    def copy(self, each: Copy) -> list[str]:
        """Loops over the axes, the last one innermost. An axis that is walked backward counts from its end: the indices
        are unsigned.
        """
        made = []
        for axis, size in enumerate(each.sizes):
            made.append(f"{'  ' * (axis + 1)}for (uint32_t {_AXES[axis]} = 0; {_AXES[axis]} < {size}; ++{_AXES[axis]})")
        steps = [math.prod(each.sizes[axis + 1 :]) for axis in range(len(each.sizes))]
        y, x = (
            " + ".join(
                _index(_AXES[axis], size, step)
                for axis, (size, step) in enumerate(zip(each.sizes, each_axis, strict=True))
            )
            for each_axis in (steps, each.strides)
        )
        first = each.offset + sum(
            (size - 1) * step for size, step in zip(each.sizes, each.strides, strict=True) if step < 0
        )
        given = self._at(each.inputs[0], first)
        return [*made, f"{'  ' * (len(each.sizes) + 1)}({self.place(each.output)})[{y}] = ({given})[{x}];"]

    def softmax(self, each: Softmax) -> list[str]:
        table = ""
        if self.network.integers is not None:
            powers = self.network.parts(each).table
            assert powers is not None
            table = f"{self._array('table', powers)}, "
        return [f"  dcz_softmax_{self.network.kind}({table}{self._xy(each)}, {each.rows}, {each.size});"]

    def recurrent(self, each: Recurrent) -> list[str]:
        both = self.network.held[each.output]
        fields = each.steps, each.by_input.columns, each.hidden, 0 if each.last else each.hidden, int(each.backward)
        recurrence = self._struct("dcz_recurrence", "recurrence", *map(str, fields))
        arguments, before = [recurrence], []
        for at, (word, held) in enumerate(zip(("input", "state"), both, strict=True)):
            sizes = str(held.matrix.shape[0]), str(held.matrix.shape[1])
            if self.network.integers is None:
                bias = self._array(f"{word}_bias", each.bias[at])
                limits = number(-np.inf), number(np.inf)
                matrix = self._struct("dcz_matrix_f32", word, *sizes, bias, *limits)
            else:
                parts = self.network.parts(each)
                matrix = self._integer_matrix(word, sizes, parts.biases[at], parts.to[at])
            weights, more = self._weights(held, at)
            arguments += [matrix, weights]
            before += more
        linear = f"dcz_linear_{'f32' if self.network.integers is None else 'i16'}_{both[0].way}"
        name = f"dcz_{each.kind}_{self.network.kind}"
        return [*before, *_checked(f"{name}({', '.join(arguments)}, {linear}, {self._xy(each)}, {self._work()})")]


def _index(axis: str, size: int, step: int) -> str:
    """What an axis adds to an index."""
    place = axis if step > 0 else f"({size - 1} - {axis})"
    return place if abs(step) == 1 else f"{place} * {abs(step)}"


def _checked(call: str, indent: str = "  ") -> list[str]:
    return [*_wrapped(f"error = {call};", indent), f"{indent}if (error != DCZ_OK) return error;"]


def _wrapped(statement: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(
        statement,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _title(each: Operator) -> str:
    """What an operator does, for a comment."""
    kind = type(each).__name__
    if isinstance(each, Conv | MaxPool | AveragePool):
        window = each.window
        kind += f" {shown(window.source)} -> {shown(window.target)}, kernel {shown(window.kernel)}"
    elif isinstance(each, Linear):
        kind += f" {each.weight.columns} -> {each.weight.rows}" + f", {each.vectors} times" * (each.vectors > 1)
    elif isinstance(each, Recurrent):
        kind = f"{each.kind.upper()} {each.by_input.columns} -> {each.hidden}, {each.steps} steps"
    elif isinstance(each, Unary):
        kind = each.function
    if isinstance(each, Clipped) and (each.low > -np.inf or each.high < np.inf):
        limits = [f"at least {each.low:g}"] * (each.low > -np.inf) + [f"at most {each.high:g}"] * (each.high < np.inf)
        kind += f", {', '.join(limits)}"
    return kind


_RULES: Mapping[type[Operator], Callable[..., list[str]]] = {
    Linear: Calls.linear,
    Conv: Calls.conv,
    MaxPool: Calls.pool,
    AveragePool: Calls.pool,
    Unary: Calls.unary,
    Clip: Calls.clip,
    Scale: Calls.scale,
    Add: Calls.pairwise,
    Multiply: Calls.pairwise,
    Concat: Calls.concat,
    Copy: Calls.copy,
    Softmax: Calls.softmax,
    Recurrent: Calls.recurrent,
}
