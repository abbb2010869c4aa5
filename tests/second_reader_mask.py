"""A stand-in until the plain decoder of the mask is here."""

from __future__ import annotations

import numpy as np
from second_reader_bits import Bytes, RefusedError

from deepcompression import _core


def read_mask(source: Bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The positions of the survivors, ascending."""
    try:
        bitmap, _, source.at = _core.decode_mask(source.data, source.at, np.array(shape, np.uint64))
    except _core.FormatError:
        raise RefusedError("mask") from None
    return _core.positions_of(bitmap, int(np.prod(shape)))
