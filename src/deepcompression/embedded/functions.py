"""Functions of one element: what boards know by name, as NumPy computes them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

_erf = np.frompyfunc(math.erf, 1, 1)


def _sigmoid(x: Doubles) -> Doubles:
    # by tanh, which does not overflow
    return 0.5 * np.tanh(0.5 * x) + 0.5


def _gelu(x: Doubles) -> Doubles:
    return 0.5 * x * (1 + np.asarray(_erf(x / math.sqrt(2)), np.float64))


def _hard_sigmoid(x: Doubles, alpha: float, beta: float) -> Doubles:
    return np.clip(alpha * x + beta, 0, 1)


# name -> float64 -> float64, with the parameters of `graph.Unary`
FUNCTIONS: dict[str, Callable[..., Doubles]] = {
    "leaky": lambda x, alpha: np.where(x < 0, alpha * x, x),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "elu": lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
    "gelu": _gelu,
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * _sigmoid(x),
}


def function_of(name: str, parameters: tuple[float, ...]) -> Callable[[Doubles], Doubles]:
    return lambda x: FUNCTIONS[name](np.asarray(x, np.float64), *parameters)
