"""The benchmark of a GPU, without one: its plan, its budget, its demands, its page, and its tasks on the CPU."""

import json

import pytest
import torch

from benchmarks import page
from benchmarks.gpu import __main__ as command
from benchmarks.gpu.page import UNCAPTURED, instructions, on_nvidia
from benchmarks.gpu.plan import BATCHES, DENSITIES, SHAPES, TINY, WIDE, Budget, grid, planned
from benchmarks.gpu.ratios import best_bits, demands
from benchmarks.gpu.tasks import DENSE16, DENSE32, OURS16, OURS32, TASKS, Weight, ours
from benchmarks.layers.ours import LAYERS

FEW, MOST_DENSITY = 16, 0.5


def test_every_layer_and_every_shape_at_every_density_is_planned_once():
    names = [case.name for case, _ in planned((), BATCHES)]
    assert len(names) == len(set(names)) == len(LAYERS) + len(SHAPES) * len(DENSITIES)
    assert {*LAYERS, *(grid(shape, density).name for shape in SHAPES for density in DENSITIES)} == {*names}
    # the demands come first: time may end
    assert {grid(WIDE, 0.1).name, grid(WIDE, 0.25).name, *LAYERS} == {*names[:11]}


def test_some_cases_can_be_chosen():
    assert [case.name for case, _ in planned(("VGG-16",), (8, 1))] == ["VGG-16 fc6", "VGG-16 fc7", "VGG-16 fc8"]
    assert {batches for _, batches in planned((), (8, 1))} == {(1, 8)}


def test_time_is_shared_among_what_is_left_and_ends():
    budget = Budget(100, 4)
    assert budget.take(0) == 25
    # the first case was quick: the others have more
    assert budget.take(10) == 30
    assert budget.take(99) == 0.5
    assert budget.take(101) is None


def measured(name, density, ours_us, dense_us, batch=1, error=1e-7, memory=1.29):
    times = {OURS16: ours_us, OURS32: ours_us, DENSE16: dense_us, DENSE32: 2 * dense_us}
    return {
        "density": density,
        "bits_of_a_weight": memory * best_bits(density),
        "errors": {OURS16: error, OURS32: error},
        "missing": {"torchao int4 weights": "ImportError: no module"},
        "uncaptured": {},
        "microseconds": {str(batch): {task: {"warm": us, "cold": 1.1 * us} for task, us in times.items()}},
    }


def all_measured(**others):
    cases = {name: measured(name, density, 10, 40) for name, (_, _, density) in LAYERS.items()}
    for density, factor in ((0.1, 5.0), (0.25, 3.0)):
        cases[grid(WIDE, density).name] = measured("", density, 10, 10 * factor)
    return cases | others


def verdicts(cases):
    return [each["met"] for each in demands(cases, FEW, MOST_DENSITY)]


def test_demands_that_are_just_met():
    assert verdicts(all_measured()) == [True] * 6


WIDE_10, WIDE_25 = grid(WIDE, 0.1).name, grid(WIDE, 0.25).name


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"VGG-16 fc6": measured("", 0.04, 10, 40, error=float("nan"))}, 0),
        ({WIDE_10: measured("", 0.1, 10, 49)}, 1),
        ({WIDE_25: measured("", 0.25, 10, 29)}, 2),
        ({"AlexNet fc6": measured("", 0.09, 10, 1)}, 3),
        ({"square": measured("", 0.5, 10, 9, batch=8)}, 4),
        ({"AlexNet fc7": measured("", 0.09, 10, 40, memory=1.31)}, 5),
    ],
)
def test_demands_that_are_missed(change, missed):
    assert verdicts(all_measured(**change))[missed] is False


def test_cases_that_the_rule_leaves_dense_may_be_slower():
    slow = {"denser": measured("", 0.6, 10, 1), "more vectors": measured("", 0.1, 10, 1, batch=64)}
    assert verdicts(all_measured(**slow)) == [True] * 6


def test_nothing_is_met_that_was_not_measured():
    found = demands({}, FEW, MOST_DENSITY)
    assert [each["met"] for each in found] == [True, False, False, False, False, False]
    assert {each["found"] for each in found[1:]} == {"not measured"}


def test_a_cold_cache_that_is_too_slow_misses_the_demand():
    cases = all_measured()
    cases[WIDE_10]["microseconds"]["1"][OURS16]["cold"] = 20
    assert verdicts(cases)[1] is False


def result(**others):
    return {
        "command": "python -m benchmarks.gpu",
        "commit": "0" * 40,
        "machine": "a machine",
        "gpu": {"name": "Made-up 9000"},
        "batch": [1, 8, 64],
        "energy": "no card was asked",
        "cases": all_measured(),
        "skipped": {"8192x8192, 50%": "460 seconds were over"},
        "demands": demands(all_measured(), FEW, MOST_DENSITY),
    } | others


def test_the_page_shows_times_published_ratios_and_what_is_missing():
    text = "\n".join(on_nvidia(result()))
    for part in ("Made-up 9000", "10 / 11", "MACKO", "energy: no card", "torchao int4 weights: ImportError", "460 sec"):
        assert part in text, part
    counted = all_measured()
    counted[WIDE_10]["joules"] = {OURS16: 0.0123}
    assert "12.3" in "\n".join(on_nvidia(result(cases=counted, energy="NVML (Made-up 9000)")))


def test_the_page_marks_times_of_calls_that_no_graph_could_hold():
    counted = all_measured()
    assert UNCAPTURED not in "\n".join(on_nvidia(result(cases=counted)))
    counted[WIDE_10]["uncaptured"] = {OURS16: "its time has that of Python in it"}
    text = "\n".join(on_nvidia(result(cases=counted)))
    # one figure, and what the mark means
    assert text.count(f"10 / 11 {UNCAPTURED}") == 1
    assert f"{UNCAPTURED} No CUDA graph" in text


def test_the_page_of_instructions_has_a_row_a_product_and_columns_a_gpu():
    found = {"instructions": 14.46, "registers": 32}
    product = {"vectors": 1, "centroids": 16, "dtype": "float32", "sm_80": found, "sm_90": found | {"registers": 40}}
    text = "\n".join(instructions({"architectures": ["sm_80", "sm_90"], "products": [product]}))
    assert "| float32, 16 centroids | 1 | 14.5 | 14.5 | 32 | 40 |" in text


def test_the_summary_says_that_nothing_was_measured_until_it_was(tmp_path):
    assert "**Not measured:** Speed of compressed layers on a GPU: no GPU was at hand" in " ".join(
        page.pages(tmp_path)[page.SUMMARY].split()
    )
    (tmp_path / "gpu.json").write_text(json.dumps(result()))
    pages = page.pages(tmp_path)
    assert "Not measured" not in pages[page.SUMMARY]
    assert "Made-up 9000" in pages["results/gpu.md"]


def test_a_weight_has_the_density_and_the_form_of_a_gpu():
    weight = Weight(TINY, torch.device("cpu"))
    assert weight.header.form == "word"
    assert weight.header.survivors == int((weight.dense != 0).sum())
    assert abs(weight.header.survivors / TINY.weights - TINY.density) < 0.02
    assert ours(weight, torch.zeros(1, TINY.columns))[1] == weight.packed.numel()


def test_without_a_gpu_peers_are_checked_and_ours_has_its_reason(monkeypatch):
    # torchao is slow to import
    few = {name: task for name, task in TASKS.items() if not name.startswith("torchao")}
    monkeypatch.setattr(command, "TASKS", few)
    monkeypatch.setattr(command, "available", lambda device: "no Triton here")
    found = command.dry_run()
    assert {name for name, why in found["skipped"].items() if why == "no Triton here"} == {
        name for name, task in few.items() if task.ours
    }
    assert [each["met"] for each in found["demands"]] == [True] * 5
