"""The benchmarks behind the rule of what pays: the fit of costs, pieces of measurements, ratios and their intervals."""

import itertools
import random
import statistics

import numpy as np
import pytest
import torch

from benchmarks import pieces
from benchmarks.costs import __main__ as main
from benchmarks.costs import fit, measure
from benchmarks.layers import never_slower, paired
from benchmarks.layers.paired import Ratio
from deepcompression.packed.costs import FEATURES, STEPS, Costs, Work

CACHES = (1 << 20, 32 << 20)
# kind -> nanoseconds of each of its features
TRUE = {
    "dense": [900.0, 2.0, 0.5, 0.03, 0.06, 0.2],
    "float32": [1500.0, 3.0, 0.0, 0.05],
    "float32 for 1": [1600.0, 3.0, 0.25, 0.07],
    "convolution dense": [9000.0, 0.5, 0.02, 0.1],
    "convolution": [9000.0, 0.0, 0.04, 0.2],
    "look-ups": [4000.0, 20.0, 0.5, 0.3],
    "LSTM dense": [500.0, 1.5, 0.75],
    "LSTM packed": [700.0, 1.25, 1.0],
}
SIDES = (64, 300, 700, 1024, 2048, 4096)


def rows_of(kind):
    """Rows as they are measured, without noise."""
    numbers = random.Random(kind)
    for rows, columns in itertools.product(SIDES, SIDES):
        row = {"what": kind, "rows": rows, "columns": columns, "survivors": numbers.randrange(rows * columns)}
        if "conv" in kind:
            row |= {"channels": columns, "positions": numbers.choice((49, 196, 784)), "vectors": numbers.choice((1, 8))}
        else:
            row["vectors"] = numbers.randrange(1, 500) if "look" in kind else 8
        quantities = FEATURES[kind](fit.work_of(row), CACHES)
        yield row | {"seconds": 1e-9 * float(np.dot(TRUE[kind], quantities))}


def table(lines):
    return Costs(
        {"sets": {"x": {"1": lines}}, "caches": CACHES, "errors": {"x": {"close": 0}}, "machine": {"id": ""}},
        "x",
        1,
        "",
    )


def test_costs_that_made_the_times_are_found_again():
    products = [kind for kind in TRUE if "LSTM" not in kind]
    rows = [row for kind in products for row in rows_of(kind)]
    found = fit.lines(rows, CACHES)
    for kind in products:
        line = found[kind] if isinstance(found[kind], list) else found[kind]["8"]
        assert line == pytest.approx(TRUE[kind], rel=1e-3, abs=1e-3), kind
    errors = fit.errors(rows, table(found))
    assert max(max(each) for each in errors.values()) < 1e-2
    assert fit.stated(errors | {"close": [0.1]})["close"] == 0.1


def test_time_steps_are_found_again_with_their_products():
    lines = fit.lines([row for kind in ("dense", "float32") for row in rows_of(kind)], CACHES)
    costs, rows = table(lines), []
    for what, (side, vectors) in itertools.product(("LSTM dense", "LSTM packed"), itertools.product(SIDES, (1, 8))):
        row = {"kind": "LSTM", "what": what, "rows": side, "columns": 256, "vectors": vectors, "density": 0.2}
        work, inputs = fit.step_works(row)
        way = "dense" if what == "LSTM dense" else "float32"
        products = costs.seconds(way, work) + costs.seconds(way, inputs) / STEPS
        quantities = [1, side * vectors, 1e9 * products]
        rows.append(row | {"seconds": 1e-9 * float(np.dot(TRUE[what], quantities))})
    found = fit.steps(rows, costs, CACHES)
    assert {kind: pytest.approx(line, rel=1e-2) for kind, line in found.items()} == {
        kind: TRUE[kind] for kind in ("LSTM dense", "LSTM packed")
    }
    assert max(fit.errors(rows, table(lines | found))["LSTM dense"]) < 1e-2


def test_a_fit_is_the_best_without_negative_multiples():
    generator = np.random.default_rng(0)
    for _ in range(20):
        features = generator.standard_normal((12, 4))
        found = fit.not_negative(features)
        assert (found >= 0).all()
        least = ((features @ found - 1) ** 2).sum()
        for other in np.maximum(0, found + 0.1 * generator.standard_normal((200, 4))):
            assert ((features @ other - 1) ** 2).sum() >= least - 1e-12
    assert (fit.not_negative(-np.ones((3, 2))) == 0).all()


@pytest.mark.parametrize("seconds", [0.0, -1e-6, float("nan"), float("inf")])
def test_times_that_are_none_are_refused(seconds):
    rows = [*rows_of("dense")]
    rows[7]["seconds"] = seconds
    with pytest.raises(ValueError, match="dense: times are seconds above 0; found"):
        fit.lines(rows, CACHES)


def test_too_few_times_and_times_of_a_busy_machine_are_refused():
    rows = [*rows_of("convolution")]
    with pytest.raises(ValueError, match="convolution: 3 times are too few for 4 multiples"):
        fit.lines(rows[:3], CACHES)
    noise = random.Random(0)
    for row in rows:
        row["seconds"] = 10 ** noise.uniform(-7, -1)
    errors = fit.errors(rows, table(fit.lines(rows, CACHES)))
    with pytest.raises(ValueError, match=r"convolution: expected times are wrong by .* idle machine"):
        fit.stated(errors | {"close": [0.1]})


def test_a_measurement_goes_on_where_it_stopped(tmp_path, monkeypatch):
    measured = []

    def run(within, *facts):
        own = pieces.Pieces("x", within, *facts, folder=tmp_path / "new")
        return [own.of(key, lambda key=key: measured.append(key) or len(measured)) for key in "abc"]

    first = pieces.Pieces("x", 60, folder=tmp_path / "new")
    assert first.of("a", lambda: 7) == 7
    with pytest.raises(SystemExit, match="1 pieces are kept, next is b: call again to go on"):
        run(0)
    assert run(60) == [7, 1, 2]
    assert run(0) == [7, 1, 2], "all are kept"
    assert run(60, "other options") == [3, 4, 5]
    monkeypatch.setattr(pieces, "commit_of", lambda root: {"commit": "another"})
    assert run(60, "other options") == [6, 7, 8]


class Machine:
    """A clock that calls move on."""

    def __init__(self, monkeypatch, noise=lambda: 1.0):
        self.now, self.noise = 0.0, noise
        monkeypatch.setattr(paired.time, "perf_counter", lambda: self.now)

    def model(self, seconds, log=None):
        machine = self

        class Model:
            def __deepcopy__(self, memo):
                return machine.model(seconds, log)

            def __call__(self, x):
                machine.now += seconds * machine.noise()
                if log is not None:
                    log.append(seconds)

        return Model()


@pytest.mark.parametrize("seconds", [1e-4, 0.03, 0.5])
def test_calls_of_every_length_take_turns_in_changing_orders(monkeypatch, seconds):
    machine, log = Machine(monkeypatch), []
    found = paired.samples({"a": machine.model(seconds, log), "b": machine.model(2 * seconds, log)}, None, 1.0)
    assert paired.LEAST_SAMPLES <= len(found) <= paired.SAMPLES
    assert all(set(times) == {"a", "b"} and len(times["a"]) == len(times["b"]) for times in found)
    assert paired.ratio(found, "a", "b") == pytest.approx((0.5, 0.5, 0.5))
    starts = [key for key, _ in itertools.groupby(log)]
    assert starts.count(seconds) > 1
    assert machine.now < 1.0 + 2 * paired.SAMPLES * (paired.BLOCK_SECONDS + 8 * seconds)


def test_an_interval_holds_the_true_ratio_though_copies_differ():
    noise, inside = random.Random(0), 0
    for _ in range(400):
        samples = []
        for _ in range(12):
            place = noise.choice((1, 1, 1, 1.3)) * noise.lognormvariate(0, 0.02)
            samples.append({"a": [1.0] * 5, "b": [2 * place * noise.lognormvariate(0, 0.05) for _ in range(5)]})
        truth = statistics.median(0.5 / (each * other) for each in (1, 1, 1, 1.3) for other in (0.99, 1, 1.01))
        found = paired.ratio(samples, "a", "b")
        assert found.low <= found.ratio <= found.high
        inside += found.low <= truth * 1.005 and truth * 0.985 <= found.high
    assert inside / 400 > paired.SURE - 0.03
    with pytest.raises(ValueError, match="an interval takes 6 samples; found 5"):
        paired.ratio(samples[:5], "a", "b")
    assert paired.ratio(samples[:6], "a", "b").low == min(
        statistics.median(1 / each for each in times["b"]) for times in samples[:6]
    )


def test_only_what_is_slower_for_sure_is_judged_slower():
    def judged(*ratios):
        cases = {str(n): {"ratio": {"default": Ratio(*each)._asdict()}, "error": 0.0} for n, each in enumerate(ratios)}
        return next(each for each in never_slower.demands(cases) if each["demand"].startswith("default"))

    assert judged((0.9, 0.8, 0.98), (1.1, 1.0, 1.2))["met"]
    assert "1 not sure; the least is 0.900" in judged((0.9, 0.8, 0.98), (1.1, 1.0, 1.2))["found"]
    slower = judged((0.9, 0.85, 0.96), (1.1, 1.0, 1.2))
    assert not slower["met"]
    assert slower["found"].startswith("0: 0.900 (0.850 to 0.960)")


def test_a_network_without_compressed_weights_is_checked_and_not_timed(monkeypatch):
    monkeypatch.setattr(never_slower, "samples", lambda *_: pytest.fail("timed"))
    torch.manual_seed(0)
    case = never_slower.Case(lambda: torch.nn.Linear(8, 9), lambda batch: torch.randn(batch, 8))
    found = never_slower.measure_one(case, never_slower.compress(case.build(), 0.5), 2, 1, 0.0)
    assert found["ratio"] == {}
    assert found["compressed weights"] == {"default": [], "no batch named": []}
    assert found["error"] == 0


@pytest.mark.parametrize("batch", never_slower.BATCHES)
def test_all_networks_and_batches_of_the_rule_are_measured(batch):
    tasks = [key for key, *_ in never_slower._tasks(parsed())]
    assert len(tasks) == len(set(tasks))
    for name in never_slower.CASES:
        of_network = [key for key in tasks if key.startswith(f"{name},") and f"batch {batch}," in key]
        assert of_network or batch > never_slower.CASES[name].largest
        assert {key[-1] for key in of_network} <= {"1", "2"}


def parsed():
    from types import SimpleNamespace

    return SimpleNamespace(
        networks=[*never_slower.CASES],
        density=never_slower.DENSITIES,
        threads=never_slower.THREADS,
        batch=never_slower.BATCHES,
    )


def test_what_is_measured_makes_a_whole_table(tmp_path, monkeypatch):
    """Small layers, and times that are made up: all else is what `python -m benchmarks.costs` does."""
    made = itertools.count(1)

    def once(function, *arguments):
        function(*arguments)
        return 1e-5 + 1e-9 * next(made)

    small = {
        "MATRICES": [(8, 40, 0.5, 16), (16, 24, 1.0, 4), (9, 70, 0.2, 256)],
        "LARGE": [(30, 20), (20, 10), (20, 30)],
        "CONVOLUTIONS": [(32, 2, 3, 1, 1, 8, 0.3), (32, 3, 1, 1, 1, 8, 0.5)],
        "TABLES": [(50, 8, 0.2, 1 + n) for n in range(4)],
        "RECURRENT": [(8, 8 + n, 1 + n, 0.5) for n in range(3)],
        "VECTORS": (1, 64),
        "UNNAMED": (1, 64),
        "seconds_of": once,
    }
    for name, value in small.items():
        monkeypatch.setattr(measure, name, value)
    monkeypatch.setattr(measure, "MATRICES", small["MATRICES"] * 2)
    threads = torch.get_num_threads()
    try:
        rows = measure.work("portable", 1)
    finally:
        torch.set_num_threads(threads)
        measure._core.force_instruction_set("")
    monkeypatch.setattr(main, "rows_of", lambda name, threads: rows)
    found = main.measure(["avx2"], pieces.Pieces("costs", 60, folder=tmp_path))
    assert found["command"] == "python -m benchmarks.costs --sets avx2"
    for name in ("avx2", "neon"):
        costs = Costs(found, name, 2, "")
        assert all(costs.seconds(kind, Work(64, 64, 99, 3, 64)) >= 0 for kind in FEATURES), name
