"""From int32 sums to int8: multipliers and shifts that no sum can overflow (the formulas of device/nn.h)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Doubles = NDArray[np.float64]

_LIMIT = 2**31
_MOST_MULTIPLIER = 2**15 - 1
_MOST_POST = 30


@dataclass(frozen=True, eq=False)
class Requantize:
    """clamp((((sum >> pre) * multiplier) + 2^(post - 1)) >> post, low, high).

    multiplier  int16 (rows,) or (1,) for all rows
    """

    multiplier: NDArray[np.int16]
    pre: int
    post: int
    low: int
    high: int

    def __call__(self, sums: Integers) -> Integers:
        """Of sums (..., rows, each)."""
        scaled = (sums >> self.pre) * self.multiplier.astype(np.int64)[:, None]
        found: Integers = np.clip((scaled + (1 << (self.post - 1))) >> self.post, self.low, self.high)
        return found


def requantize(layer: str, real: Any, bound: Any, low: int, high: int) -> Requantize:
    """The most exact parameters for y = real * sum.

    real   for each row, or (1,) for all
    bound  the largest |sum| of each row

    Raises ValueError, naming the layer, if none is without overflow.
    """
    real = np.atleast_1d(np.asarray(real, np.float64))
    bound = np.broadcast_to(np.asarray(bound, np.int64), real.shape if real.size > 1 else np.shape(bound) or (1,))
    if int(bound.max()) >= _LIMIT:
        raise ValueError(
            f"{layer}: its sums reach {int(bound.max())}, and int32 ends at {_LIMIT}: export it in float32"
        )
    largest, best = float(np.abs(real).max()), None
    for pre in range(31):
        for post in range(1, _MOST_POST + 1):
            multiplier = np.rint(np.ldexp(real, pre + post))
            most = float(np.abs(multiplier).max())
            if most > _MOST_MULTIPLIER:
                break
            # a negative sum is shifted away from zero
            reached = ((bound >> pre) + 1) * np.abs(multiplier) + 2.0 ** (post - 1)
            if reached.max() >= _LIMIT:
                continue
            # of a multiplier's last bit, at the largest y; and of the bits that `pre` drops
            error = 0.5 * max(-low, high) * (1 if most == 0 else 1 / most) + (pre > 0) * 0.5 * largest * 2.0**pre
            if best is None or error < best[0]:
                best = error, Requantize(multiplier.astype(np.int16), pre, post, low, high)
    if best is None or not np.isfinite(real).all():
        raise ValueError(
            f"{layer}: a sum of up to {int(bound.max())} times {largest:.3g} cannot be computed in int32: give "
            "calibration inputs that are typical, or export in float32"
        )
    return best[1]


def sum_of_two(layer: str, first: float, second: float, low: int, high: int) -> Requantize:
    """Two factors of one shift, as dcz_add_i8 takes them."""
    real = np.array([first, second])
    for post in range(_MOST_POST, 0, -1):
        factors = np.rint(np.ldexp(real, post))
        if np.abs(factors).max() <= _MOST_MULTIPLIER:
            return Requantize(factors.astype(np.int16), 0, post, low, high)
    raise ValueError(f"{layer}: its inputs are {real.max():.3g} times as coarse as its output: export in float32")


def scale_and_offset(
    layer: str, scale: Doubles, offset: Doubles, low: int, high: int
) -> tuple[Requantize, NDArray[np.int32]]:
    """Multipliers, and offsets that hold the rounding, as dcz_scale_i8 takes them; in steps of y for each step of x."""
    for post in range(_MOST_POST, 0, -1):
        factors, offsets = np.rint(np.ldexp(scale, post)), np.rint(np.ldexp(offset, post)) + 2.0 ** (post - 1)
        fits = np.abs(factors).max() <= _MOST_MULTIPLIER
        if fits and (127 * np.abs(factors) + np.abs(offsets)).max() < _LIMIT:
            return Requantize(factors.astype(np.int16), 0, post, low, high), offsets.astype(np.int32)
    raise ValueError(f"{layer}: its scale or offset is too large for int8: export in float32")
