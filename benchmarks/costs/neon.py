"""The costs of neon: the instructions that were counted under emulation, at a stated rate. Nobody timed them."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.environment import RESULTS

# of a core of a phone: instructions in a nanosecond
RATE = 5.0
# A dense product takes a load for four weights, which all vectors of a bundle share, and a multiply-add for each of
# them.
LANES, BUNDLE = 4, 4
# Products are chosen for pipelines and caches of which counts know nothing.
ERROR = 0.5


def counted(avx2: dict[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
    """Costs by threads, and their error. What is not counted, such as calls and time steps, is avx2's."""
    result = json.loads((RESULTS / "neon_instructions.json").read_text())
    means = result["centroids"]["16"]["means"]
    sets: dict[str, Any] = {}
    for threads, lines in avx2.items():
        found = {**lines, "dense": {}}
        for vectors, line in lines["dense"].items():
            each = (1 + 1 / min(int(vectors), BUNDLE)) / LANES * int(vectors) / RATE / int(threads)
            found["dense"][vectors] = [*line[:3], *[round(each, 4)] * 3]
        for kind in ("float32", "int8"):
            for name in (kind, *(each for each in lines if each.startswith(f"{kind} for"))):
                found[name] = {
                    vectors: [*line[:3], round(_survivor(means[kind], name, int(vectors)) / RATE / int(threads), 4)]
                    for vectors, line in lines[name].items()
                }
        sets[threads] = found
    return sets, {"close": ERROR}


def _survivor(means: dict[str, dict[str, float]], name: str, vectors: int) -> float:
    """The instructions for a survivor and all vectors, on CPUs without sdot, in the form that counts least for the
    number of vectors that the weights are packed for.
    """
    packed_for = int(name.partition(" for ")[2] or vectors)

    def at(count: int) -> dict[str, float]:
        known = max(int(each) for each in means if int(each) <= count)
        return {form: each for form, each in means[str(known)].items() if "neon" in form or form == "factored"}

    least = at(packed_for)
    form = min((each for each in least if "sdot" not in each), key=lambda each: least[each])
    return at(vectors)[form] * vectors
