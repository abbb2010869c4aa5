"""Times of calls on a GPU by its own events. A call is captured as a CUDA graph, so that Python's time is not in it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

# Calls of a graph whose caches are warm, and the least samples of a median.
TOGETHER, LEAST, MOST = 20, 5, 200

Call = Callable[[], object]


class GpuTimer:
    """Medians of one device. Its second-level cache is cold after a write of twice its size."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        cache = torch.cuda.get_device_properties(device).L2_cache_size
        self.flush = torch.empty(2 * cache // 4 + 1, dtype=torch.int32, device=device)

    def graph(self, call: Call, times: int) -> Call:
        """Replays so many calls at once. Raises RuntimeError for calls that cannot be captured."""
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(3):
                call()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(times):
                call()
        return graph.replay

    def seconds(self, replay: Call, seconds: float, cold: bool, times: int) -> float:
        """The median of a call, over samples for about so long."""
        samples: list[float] = []
        end = time.perf_counter() + seconds
        while len(samples) < LEAST or (time.perf_counter() < end and len(samples) < MOST):
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            if cold:
                # while this runs, the calls behind it are queued: no launch is waited for
                self.flush.zero_()
            events[0].record()
            replay()
            events[1].record()
            events[1].synchronize()
            samples.append(1e-3 * events[0].elapsed_time(events[1]) / times)
        return statistics.median(samples)

    def warm_and_cold(self, call: Call, seconds: float) -> tuple[float, float, bool]:
        """Seconds of a call with a warm and with a cold second-level cache, and whether it was captured."""
        captured = True
        try:
            many, one = self.graph(call, TOGETHER), self.graph(call, 1)
        except RuntimeError:
            captured, one = False, call

            def many() -> None:
                for _ in range(TOGETHER):
                    call()

        warm = self.seconds(many, seconds / 2, False, TOGETHER)
        return warm, self.seconds(one, seconds / 2, True, 1), captured

    def eager(self, call: Call, seconds: float) -> float:
        """Seconds of a call without a graph, as Python starts it, one after the other."""
        call()
        torch.cuda.synchronize(self.device)
        calls, start = 0, time.perf_counter()
        while not calls or time.perf_counter() - start < seconds:
            for _ in range(TOGETHER):
                call()
            torch.cuda.synchronize(self.device)
            calls += TOGETHER
        return (time.perf_counter() - start) / calls
