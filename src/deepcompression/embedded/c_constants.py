"""The constants of a network in C: arrays, and the structures of device/nn.h that name them."""

from __future__ import annotations

import numpy as np

from deepcompression.embedded.c_text import WIDTH, array, lines, number
from deepcompression.embedded.graph import Affine, Window
from deepcompression.embedded.hold import Held
from deepcompression.embedded.network import Network
from deepcompression.embedded.requantize import Requantize


class Constants:
    """The definitions so far.

    definitions  for the top of the file
    table_bytes  of their arrays
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.definitions: list[str] = []
        self.table_bytes = 0
        # of the operator at work
        self._number = 0

    def _called(self, what: str) -> str:
        return f"{what}_{self._number}"

    def _array(self, what: str, values: np.ndarray) -> str:
        name = self._called(what)
        self.definitions.append(array(name, values))
        self.table_bytes += max(1, values.size) * values.itemsize
        return name

    def _struct(self, kind: str, what: str, *fields: str) -> str:
        """A pointer to a constant structure."""
        name = self._called(what)
        head = f"static const {kind} {name} = {{"
        short = f"{head}{', '.join(fields)}}};"
        self.definitions.append(short if len(short) <= WIDTH else f"{head}\n{lines(fields)}\n}};")
        return f"&{name}"

    def _requantize(self, to: Requantize, what: str = "multiplier") -> str:
        """The fields of a dcz_requantize in braces."""
        name = self._array(what, to.multiplier)
        step = int(len(to.multiplier) > 1)
        return f"{{{name}, {step}, {to.pre}, {to.post}, {to.low}, {to.high}}}"

    def _to(self, to: Requantize, what: str = "to") -> str:
        return self._struct("dcz_requantize", what, self._requantize(to, f"{what}_multiplier")[1:-1])

    def _window(self, window: Window, groups: int) -> str:
        channels, height, width = window.source
        filters, *out = window.target
        fields = (height, width, *out, channels // groups, filters // groups)
        fields += (*window.kernel, *window.stride, *window.padding, *window.dilation)
        return self._struct("dcz_window", "window", *map(str, fields))

    def _matrix(self, each: Affine, held: Held) -> str:
        rows, columns = held.matrix.shape
        sizes = str(rows), str(columns)
        if self.network.integers is None:
            scaled = each.scaled
            bias = "NULL" if scaled or not each.bias.any() else self._array("bias", each.bias)
            low, high = (-np.inf, np.inf) if scaled else (each.low, each.high)
            return self._struct("dcz_matrix_f32", "matrix", *sizes, bias, number(float(low)), number(float(high)))
        parts = self.network.parts(each)
        return self._integer_matrix("matrix", sizes, parts.biases[0], parts.to[0])

    def _integer_matrix(self, what: str, sizes: tuple[str, str], biases: np.ndarray, to: Requantize) -> str:
        bias = self._array(f"{what}_bias", biases) if biases.any() else "NULL"
        return self._struct("dcz_matrix_i8", what, *sizes, bias, self._requantize(to, f"{what}_multiplier"))

    def _weights(self, held: Held, at: int = 0) -> tuple[str, list[str]]:
        """A pointer to the weights, and the statements before its use."""
        name = f"{self.network.name}_{{}}_{self._number}_{at}"
        if held.packed is not None:
            codebook = "NULL" if held.packed.codebook is None else name.format("codebook")
            fields = name.format("pairs"), name.format("counts"), codebook, "NULL", "0"
            return self._struct("dcz_weights", f"weights_{at}", *fields), []
        return f"&coded_{at}", [f"  coded_{at}.number = {held.number};"]
