"""The energy of calls: what a meter is, and the counters of the CPU (RAPL)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

POWERCAP = Path("/sys/class/powercap")


class UnmeasurableError(Exception):
    """Energy cannot be measured here; the message has the reason and the remedy."""


class Consumption(NamedTuple):
    """The energy and time of some calls. It includes other programs and idling, which the counters see, too."""

    joules: float
    seconds: float
    calls: int

    @property
    def joules_per_call(self) -> float:
        return self.joules / self.calls

    @property
    def watts(self) -> float:
        return self.joules / self.seconds


@dataclass(frozen=True)
class Meter:
    """Counters that grow and wrap around to 0.

    source  the names of the counters
    read    returns all counters, in microjoules
    ranges  the value at which each counter wraps around; 0 for never
    often   the seconds after which a counter must be read again, because it grows by readings
    """

    source: str
    read: Callable[[], tuple[int, ...]]
    ranges: tuple[int, ...]
    often: float = math.inf

    def joules(self, before: tuple[int, ...], after: tuple[int, ...]) -> float:
        """The energy between two readings, if no counter wrapped around twice."""
        parts = zip(before, after, self.ranges, strict=True)
        return sum(b - a if b >= a else b - a + around for a, b, around in parts) / 1e6

    def measure(self, call: Callable[[], object], seconds: float) -> Consumption:
        """Repeats a call for at least so long. RAPL counts about every millisecond: half a second errs by under 1 %."""
        calls, before, start = 0, self.read(), time.perf_counter()
        last = now = start
        while not calls or now - start < seconds:
            call()
            calls += 1
            now = time.perf_counter()
            if now - last > self.often:
                last = now
                self.read()
        after = self.read()
        return Consumption(self.joules(before, after), time.perf_counter() - start, calls)

    def idle(self, seconds: float) -> Consumption:
        """The energy of the machine while this process sleeps. Raises UnmeasurableError if the counters stand still."""
        use = self.measure(lambda: time.sleep(seconds), 0)
        if use.joules <= 0:
            raise UnmeasurableError(f"{self.source} stand still; a virtual machine may show counters without counting")
        return use


def rapl(root: Path = POWERCAP) -> Meter:
    """The counters of all CPU packages and their memory, which Linux shows under `root`.

    Raises UnmeasurableError for missing counters, and for those that may not be read.
    """
    names, paths, ranges = [], [], []
    try:
        # AMD's counters are named intel-rapl, too; intel-rapl-mmio counts the same packages once more
        for zone in sorted(root.glob("intel-rapl:*")):
            name = (zone / "name").read_text().strip()
            if name.startswith("package") or name == "dram":
                names.append(name)
                paths.append(zone / "energy_uj")
                ranges.append(int((zone / "max_energy_range_uj").read_text()))
        source = f"RAPL ({', '.join(names)})"
        meter = Meter(source, lambda: tuple(int(path.read_text()) for path in paths), tuple(ranges))
        meter.read()
    except PermissionError as error:
        raise UnmeasurableError(
            f"{error.filename} may not be read; sudo chmod a+r {root}/intel-rapl*/energy_uj allows it until restart"
        ) from None
    except (OSError, ValueError) as error:
        raise UnmeasurableError(f"the RAPL counters in {root} cannot be read: {error}") from None
    if not paths:
        raise UnmeasurableError(
            f"no RAPL counters in {root}; virtual machines and containers mostly have none; elsewhere try sudo "
            "modprobe intel_rapl_msr"
        )
    return meter
