"""The options of `run`, checked in one place before anything is read or built."""

from __future__ import annotations

from typing import Any

from deepcompression.common.options import checked_count, checked_flag, checked_patterns
from deepcompression.nn.build import Options
from deepcompression.nn.devices import checked_device
from deepcompression.nn.what_pays import PREFERENCES
from deepcompression.packed.packing import check_activations


def checked_options(
    *, activations: Any, batch: Any, linear: Any, dense: Any, device: Any, prefer: Any, tune: Any
) -> Options:
    """Raises TypeError or ValueError, naming the option, for what `run` does not take."""
    check_activations(activations)
    if prefer not in PREFERENCES:
        raise ValueError(f"prefer is {' or '.join(PREFERENCES)}; found {prefer!r}")
    return Options(
        activations,
        None if batch is None else checked_count("batch", "vectors", batch),
        checked_patterns("linear", linear),
        checked_patterns("dense", dense),
        None if device is None else checked_device(device),
        prefer,
        checked_flag("tune", tune),
    )
