"""The energy of a GPU, from the counter of its driver (NVML)."""

from __future__ import annotations

import time
from typing import Any

from deepcompression.bench.energy import Meter, UnmeasurableError
from deepcompression.common.extras import named_extra

# Where a card counts no energy, its power is read this often. Its sensor is renewed about every 20 to 100 ms.
_SAMPLE_SECONDS = 0.02


def gpu_meter(device: str) -> Meter:
    """The meter of one of torch's devices. Raises UnmeasurableError for others than NVIDIA's GPUs."""
    import torch

    from deepcompression.nn.devices import checked_device

    found = checked_device(device)
    if found.type != "cuda" or torch.version.cuda is None:
        raise UnmeasurableError(f"NVML measures NVIDIA's GPUs; {found} is none")
    return nvml(f"GPU-{torch.cuda.get_device_properties(found).uuid}")


def nvml(uuid: str, library: Any = None) -> Meter:
    """The meter of one GPU, by its UUID: the numbers of NVML need not be those of torch.

    library  the module pynvml, or one like it; None imports it

    Joules are those of the whole card. Raises UnmeasurableError for a GPU that NVML does not find or measure.
    """
    library = _pynvml() if library is None else library
    try:
        library.nvmlInit()
        handle = library.nvmlDeviceGetHandleByUUID(uuid)
        name = library.nvmlDeviceGetName(handle)
    except library.NVMLError as error:
        raise UnmeasurableError(f"NVML does not find the GPU {uuid}: {error}; is nvidia-smi there?") from None
    try:
        library.nvmlDeviceGetTotalEnergyConsumption(handle)
        return Meter(
            f"NVML ({name})",
            # millijoules since the driver was loaded
            lambda: (1000 * library.nvmlDeviceGetTotalEnergyConsumption(handle),),
            (0,),
        )
    except library.NVMLError:
        pass
    try:
        power = _Power(lambda: library.nvmlDeviceGetPowerUsage(handle) / 1000)
    except library.NVMLError as error:
        raise UnmeasurableError(f"{name} counts no energy, and NVML does not read its power: {error}") from None
    return Meter(f"NVML (power of {name}, sampled)", power.read, (0,), _SAMPLE_SECONDS)


def _pynvml() -> Any:
    try:
        with named_extra():
            import pynvml

            return pynvml
    except ModuleNotFoundError as error:
        raise UnmeasurableError(str(error)) from None


class _Power:
    """Energy as the sum of power over time."""

    def __init__(self, watts: Any) -> None:
        self._watts, self._microjoules = watts, 0.0
        self._before = time.perf_counter(), watts()

    def read(self) -> tuple[int]:
        """The microjoules since the beginning, as if power changed evenly between two readings."""
        now = time.perf_counter(), self._watts()
        mean = (self._before[1] + now[1]) / 2
        self._microjoules += 1e6 * mean * (now[0] - self._before[0])
        self._before = now
        return (round(self._microjoules),)
