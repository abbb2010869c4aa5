"""Multiples of a call's rows, columns and survivors that add up to its time, fitted to measured times."""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.costs.measure import Row
from deepcompression.packed.costs import FEATURES, STEPS, Costs, Work

# Seconds of a product dense / compressed between which a wrong expectation would choose wrongly.
CLOSE = (0.5, 2.0)
# of the errors in this range, the part that the stated one covers
COVERED = 80
# Times with a larger error are those of a machine that did other things as well.
MOST_ERROR = 0.5
DIGITS = 4


def work_of(row: Row) -> Work:
    return Work(**{name: value for name, value in row.items() if name in Work._fields})


def line(kind: str, works: list[Work], seconds: Sequence[float], caches: tuple[int, ...]) -> list[float]:
    """The multiples in nanoseconds, none below 0, with the least squares of relative errors.

    Raises ValueError for times that are none, and for fewer times than multiples.
    """
    if bad := [each for each in seconds if not 0 < each < float("inf")]:
        raise ValueError(f"{kind}: times are seconds above 0; found {bad[0]}")
    if len(works) < len(FEATURES[kind](works[0], caches)):
        raise ValueError(
            f"{kind}: {len(works)} times are too few for {len(FEATURES[kind](works[0], caches))} multiples"
        )
    features = np.array([FEATURES[kind](work, caches) for work in works], float)
    found = not_negative(features / (1e9 * np.array(seconds))[:, None])
    return [float(f"{each:.{DIGITS}g}") for each in found]


def not_negative(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """The multiples of columns (rows, columns), none below 0, whose sums are nearest to 1 in the sense of squares.

    Some columns have multiples above 0, and theirs are those without the bound. Few columns: all choices are tried.
    """
    columns = features.shape[1]
    best, least = np.zeros(columns), float(len(features))
    # of like size, since a weight counts millions
    sizes = np.abs(features).max(0) + (features == 0).all(0)
    for chosen in itertools.chain.from_iterable(
        itertools.combinations(range(columns), n) for n in range(1, columns + 1)
    ):
        own = [*chosen]
        some = np.linalg.lstsq(features[:, own] / sizes[own], np.ones(len(features)), rcond=None)[0] / sizes[own]
        rest = float(((features[:, own] @ some - 1) ** 2).sum())
        if (some >= 0).all() and rest < least:
            best, least = np.zeros(columns), rest
            best[own] = some
    return best


def lines(rows: list[Row], caches: tuple[int, ...]) -> dict[str, Any]:
    """Of one instruction set and number of threads: the multiples by kind, those of products by vectors as well."""
    by_kind: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_kind[row["what"]].append(row)
    found: dict[str, Any] = {}
    for kind, own in by_kind.items():
        if "kind" in own[0]:
            continue
        if "channels" in own[0] or "look-ups" in kind:
            found[kind] = line(kind, [*map(work_of, own)], [row["seconds"] for row in own], caches)
            continue
        for vectors, some in itertools.groupby(sorted(own, key=lambda row: row["vectors"]), lambda row: row["vectors"]):
            group = [*some]
            multiples = line(kind, [*map(work_of, group)], [row["seconds"] for row in group], caches)
            found.setdefault(kind, {})[str(vectors)] = multiples
    return found


def steps(rows: list[Row], costs: Costs, caches: tuple[int, ...]) -> dict[str, list[float]]:
    """What time steps take, beside a multiple of their products."""
    found: dict[str, list[float]] = {}
    recurrent = sorted((row for row in rows if "kind" in row), key=lambda row: row["what"])
    for kind, group in itertools.groupby(recurrent, lambda row: row["what"]):
        own = [*group]
        works = []
        for row in own:
            work, inputs = step_works(row)
            way = "dense" if kind.endswith("dense") else "float32"
            products = costs.seconds(way, work) + costs.seconds(way, inputs) / STEPS
            works.append(Work(row["rows"], row["rows"], 0, row["vectors"], products=products))
        found[kind] = line(kind, works, [row["seconds"] for row in own], caches)
    return found


def step_works(row: Row) -> tuple[Work, Work]:
    """The products of a time step: with the hidden state, and with the inputs of all steps."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[row["kind"]] * row["rows"]
    hidden, inputs = (gates * columns for columns in (row["rows"], row["columns"]))
    return (
        Work(gates, row["rows"], round(hidden * row["density"]), row["vectors"]),
        Work(gates, row["columns"], round(inputs * row["density"]), row["vectors"] * STEPS),
    )


def errors(rows: list[Row], costs: Costs) -> dict[str, list[float]]:
    """By group of kinds: the relative errors of expected times, and under `close` those of expected ratios of products
    that are near 1.
    """
    found: dict[str, list[float]] = defaultdict(list)
    dense: dict[tuple[int, ...], tuple[float, float]] = {}
    for row in rows:
        if "kind" in row:
            work, inputs = step_works(row)
            name, _, way = row["what"].partition(" ")
            expected = costs.step(name, "dense" if way == "dense" else "float32", work, inputs)
        else:
            expected = costs.seconds(row["what"], work_of(row))
        found[row["what"].partition(" for ")[0]].append(abs(expected / row["seconds"] - 1))
        key = tuple(row.get(name, 0) for name in ("vectors", "rows", "columns"))
        if row["what"] == "dense":
            dense[key] = expected, row["seconds"]
        elif row["what"] in ("float32", "int8"):
            true, ratio = dense[key][1] / row["seconds"], dense[key][0] / expected
            if CLOSE[0] <= true <= CLOSE[1]:
                found["close"].append(abs(ratio / true - 1))
    return found


def stated(found: Mapping[str, list[float]]) -> dict[str, float]:
    """The median error of each group, and the one that covers most of those that are close.

    Raises ValueError where the multiples do not describe the times.
    """
    medians = {group: round(statistics.median(each), 3) for group, each in found.items()}
    for group, error in medians.items():
        if not error <= MOST_ERROR:
            raise ValueError(f"{group}: expected times are wrong by {100 * error:.0f} %: measure on an idle machine")
    return medians | {"close": round(float(np.percentile(found["close"], COVERED)), 3)}
