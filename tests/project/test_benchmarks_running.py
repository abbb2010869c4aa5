"""The benchmarks of running from the compressed form: turns, ratios, weights, pages; without the packages beside it."""

import json
import math

import numpy as np
import pytest
import torch
from turns import Turns

from benchmarks import networks, page, tensors, timing
from benchmarks.layers import mixed, sparse_peers
from benchmarks.layers import ours as layer_ours
from benchmarks.layers import peers as layer_peers
from benchmarks.layers import ratios as layer_ratios


def test_every_round_gives_each_task_a_turn():
    turns = []
    tasks = {name: Turns(name, seconds, turns) for name, seconds in (("quick", 1e-6), ("slow", 1e-3))}
    medians, rounds = timing.interleave(tasks, 0, pause=0)
    assert rounds == timing.LEAST_ROUNDS
    assert medians == {"quick": 1e-6, "slow": 1e-3}
    for at in range(0, 2 * rounds, 2):
        assert {name for name, _, _ in turns[at : at + 2]} == set(tasks)
    assert {calls for name, calls, _ in turns[2:] if name == "quick"} == {timing.TURN_CALLS}
    assert {calls for name, calls, _ in turns[2:] if name == "slow"} == {2}


def test_a_slow_task_has_only_the_least_number_of_rounds():
    turns = []
    tasks = {"quick": Turns("quick", 1e-6, turns), "slow": Turns("slow", 10.0, turns)}
    _, rounds = timing.interleave(tasks, 0.05, cold=True, pause=0.001)
    assert rounds > timing.LEAST_ROUNDS
    assert sum(name == "slow" for name, _, _ in turns) == timing.LEAST_ROUNDS
    assert {(calls, cold) for _, calls, cold in turns} == {(1, True)}


def test_caches_are_flushed_before_each_cold_call_and_warmed_before_hot_ones():
    events = []
    call = timing.Call(lambda: events.append("call"), lambda: events.append("flush"), lambda: events.append("before"))
    assert len(call.turn(2, cold=True)) == 2
    assert events == ["before", "flush", "call", "flush", "call"]
    events.clear()
    assert len(call.turn(2, cold=False)) == 2
    assert events[0] == "before"
    assert len(events) > timing.WARM_CALLS + 2, "a call of no length is not warm after two"
    assert set(events[1:]) == {"call"}


def layer(**ms):
    key = layer_ratios.case(1, 1, "hot")
    return {"ms": {key: {"a": 8.0, "b": 4.0, "torch fp32": 16.0} | ms}, "errors": {}}


KINDS = {"a": layer_peers.SPARSE, "b": layer_peers.SPARSE, "torch fp32": layer_peers.FP32}
KEY = layer_ratios.case(1, 1, "hot")


def test_ratios_are_geometric_means_against_the_quickest_of_a_kind():
    layers = {"x": layer(**{"ours int8, avx512": 1.0}), "y": layer(b=16.0, **{"ours int8, avx512": 0.5})}
    found = layer_ratios.means(layers, KINDS)[KEY]["ours int8, avx512"]
    assert found["best sparse"] == pytest.approx(math.sqrt(4 * 16), abs=1e-3)
    assert found["torch fp32"] == found["best dense fp32"] == pytest.approx(math.sqrt(16 * 32), abs=1e-3)
    assert "best int8" not in found


def test_a_layer_that_was_not_measured_meets_no_demand():
    times = {f"{kind}, {way}": 1e-3 for _, kind, way in layer_ratios.DEMANDED}
    names = list(layer_ours.LAYERS)
    kinds = KINDS | {"int8": layer_peers.INT8, "oneMKL": layer_peers.SPARSE}
    # the errors name the instruction sets that were measured
    errors = {"errors": dict.fromkeys(times, 0.0)}
    layers = {name: layer(int8=1.0, oneMKL=2.0, **times) | errors for name in names}
    found = {each["demand"]: each for each in layer_ratios.demands(layers, kinds)}
    of_modules = [text for text in found if "module" in text]
    of_two = len(layer_ratios.DEMANDED_OF_TWO) * (1 + len(layer_ratios.SECOND_THREAD))
    assert len(of_modules) == of_two + len(layer_ours.BOUNDS)
    assert not any(found.pop(text)["met"] for text in of_modules)
    batch1 = [each["met"] for text, each in found.items() if text.startswith("batch 1,")]
    assert len(batch1) == 11
    assert all(batch1)
    assert not any(each["met"] for text, each in found.items() if text.startswith("batch 64"))
    # 25 % dense: one of the layers that the AVX2 demand of int8 is not made of
    del layers["AlexNet fc8"]
    met = {
        each["demand"] for each in layer_ratios.demands(layers, kinds) if each["met"] and "max|" not in each["demand"]
    }
    assert met == {f"batch 1, {layer_ours.INT8}, avx2: at least 1.5 times best int8, layers at 4-11 %"}


def test_modules_on_two_threads_have_demands_of_their_own():
    module = {
        f"{layer_ours.FLOAT32}, {layer_ours.MODULE}": 1 / 1.31,
        f"{layer_ours.INT8}, {layer_ours.MODULE}": 1 / 2.4,
    }
    times = {layer_ratios.case(1, 2, "hot"): {"b": 1.0} | module}
    layers = {name: {"ms": times, "errors": {}} for name in layer_ours.LAYERS}
    found = layer_ratios.demands(layers, {"b": layer_peers.INT8})
    met = [each["demand"] for each in found if each["met"]]
    assert met == [f"batch 1, {layer_ours.FLOAT32}, module, 2 threads: at least 1.3 times best int8 / int4"]


@pytest.mark.parametrize(
    ("small", "large", "met"), [(1.0, 1.5, [True, True]), (0.98, 1.5, [False, True]), (1.0, 1.48, [True, False])]
)
def test_a_second_thread_harms_no_layer_and_pays_on_large_ones(small, large, met):
    one, two = (layer_ratios.case(1, threads, "hot") for threads in (1, 2))
    name = f"{layer_ours.INT8}, {layer_ours.MODULE}"
    layers = {}
    for layer_name in layer_ours.LAYERS:
        held, gain = (400_000, small) if layer_name == "NeuralTalk We" else (600_000, large)
        times = {one: {name: 1.0}, two: {name: 1 / gain}}
        layers[layer_name] = {"ms": times, "bytes": {name: held}, "errors": {}}
    of_int8 = f"batch 1, {layer_ours.INT8}, module: 2 threads"
    found = [each for each in layer_ratios.demands(layers, {}) if each["demand"].startswith(of_int8)]
    assert [each["met"] for each in found] == met
    assert "(NeuralTalk We)" in found[0]["found"]
    del layers["VGG-16 fc6"]
    found = [each for each in layer_ratios.demands(layers, {}) if each["demand"].startswith(of_int8)]
    assert [each["found"] for each in found] == ["not measured"] * 2


@pytest.mark.parametrize(("rate", "met"), [(0.71, True), (0.69, False)])
def test_beside_a_busy_process_mean_rates_count_of_the_whole_and_of_the_compressed_layers(rate, met):
    # torch's layers between lose nine tenths
    found = {"whole": 1.0, "parts": 1.0, "mean": 1.0, "busy": 10.0, "named, mean": 0.5, "named, busy": 0.5 / rate}
    times = dict.fromkeys((mixed.DENSE, *mixed.KINDS), found)
    cases = {"network": {"batch 8": {"1 threads": times, "2 threads": times}}}
    assert mixed.busy_rates(times, times, mixed.DENSE) == pytest.approx((0.1, rate))
    busy = [each["met"] for each in mixed.demands(cases) if "busy" in each["demand"]]
    assert busy == [False, met] * len(mixed.KINDS)


def test_a_whole_network_keeps_the_seconds_of_its_named_layers(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(mixed.time, "perf_counter", lambda: next(clock))
    monkeypatch.setitem(mixed.NETWORKS, "small", ("first", torch.nn.ReLU(), "last"))
    whole = mixed.Whole("small", [torch.nn.Identity()] * 3, torch.zeros(1))
    whole(), whole()
    assert whole.mean() == 2
    assert whole.named == []


def test_an_instruction_set_that_was_not_measured_has_no_demands():
    layers = {"x": layer() | {"errors": {f"{layer_ours.INT8}, avx2": 0.0}}}
    speeds = [
        each["demand"]
        for each in layer_ratios.demands(layers, KINDS)
        if "times" in each["demand"] and "module" not in each["demand"]
    ]
    assert speeds
    assert all("avx2" in text for text in speeds)


def test_a_call_of_a_module_takes_little_more_than_its_kernel():
    bare, module = f"{layer_ours.INT8}, avx512", f"{layer_ours.INT8}, {layer_ours.MODULE}"
    for over, is_met in ((1.9e-3, True), (2.1e-3, False)):
        layers = {"x": layer(**{f"{layer_ours.INT8}, avx2": 9.0, bare: 1.0, module: 1.0 + over})}
        met = [
            each["met"]
            for each in layer_ratios.demands(layers, KINDS)
            if f"{layer_ours.INT8}: a module" in each["demand"]
        ]
        assert met == [is_met]


def test_a_wrong_result_misses_the_bound_of_its_kind():
    layers = {"x": layer() | {"errors": {"a": 1e-7, "b": 1e-3, "ours int8, avx2": 1e-3}}}
    found = {each["demand"].partition(":")[0]: each["met"] for each in layer_ratios.demands(layers, KINDS)}
    assert (found[layer_peers.SPARSE], found[layer_ours.INT8]) == (False, True)
    reference = np.array([[1.0, -2.0]])
    assert layer_ours.error(torch.tensor([1.0, -1.0]), reference) == 0.5
    assert layer_ours.error(np.array([np.nan, 0]), reference) == math.inf


def test_weights_have_the_layers_exact_density_and_the_grid_is_exact():
    rows, columns, density = layer_ours.LAYERS["NeuralTalk We"]
    tensor = layer_ours.weights("NeuralTalk We")
    assert tensor.shape == (rows, columns)
    assert len(tensor.positions) == round(rows * columns * density)
    assert len(tensor.codebook) == 16
    grid = layer_ours.on_grid(tensor).codebook
    step = np.abs(grid).max() / 127
    assert np.array_equal(np.rint(grid / step).astype(np.float32) * step.astype(np.float32), grid)
    assert np.abs(grid - tensor.codebook).max() <= 0.51 * step


def test_peers_within_torch_give_the_product():
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((128, 100), np.float32) * (rng.random((128, 100)) < 0.1)
    made = layer_peers.Layer(weight)
    x = rng.standard_normal((3, 100), np.float32)
    exact = x.astype(np.float64) @ weight.T.astype(np.float64)
    for name in ("numpy (OpenBLAS)", "torch fp32", "torch bf16", "torch sparse CSR"):
        peer = (layer_peers.PEERS | sparse_peers.PEERS)[name]
        call, held = peer.make(made, x, 1)
        assert layer_ours.error(call(), exact) <= layer_peers.BOUNDS[peer.kind]
        assert held > 0
    levels, scales = made.blocks(32, 4)
    assert levels.shape == (128, 4, 32)
    back = ((levels.astype(np.float32) - 8) * scales[:, :, None]).reshape(128, -1)
    assert np.abs(back[:, :100] - weight).max() <= scales.max() / 2 + 1e-6
    assert not back[:, 100:].any()


@pytest.mark.parametrize(("name", "table"), [("AlexNet", tensors.ALEXNET), ("VGG-16", tensors.VGG16)])
def test_networks_have_the_papers_layers(name, table):
    with torch.device("meta"):
        model = networks.NETWORKS[name].build()
        result = model(torch.empty(2, *networks.NETWORKS[name].shape))
    assert result.shape == (2, 1000)
    shapes = {key.removesuffix(".weight"): tuple(each.shape) for key, each in model.named_parameters() if each.ndim > 1}
    assert shapes == {key: shape for key, (shape, _) in table.items()}


def test_pages_of_layers_convolutions_and_networks(tmp_path):
    name = "ours float32, avx512"
    one = layer(**{name: 1.0}) | {"rows": 2, "columns": 3, "density": 0.09, "bytes": {name: 1234}}
    one["errors"] = {"a": 1e-7, name: 2e-7}
    layers = {"fc": one}
    result = {"command": "c", "commit": "d" * 40, "machine": "m", "centroids": 16, "kinds": KINDS, "layers": layers}
    result |= {
        "times": layer_ratios.means(layers, KINDS),
        "missing": {"gone": "no wheel"},
        "against": layer_ratios.AGAINST,
    }
    (tmp_path / "layers.json").write_text(json.dumps(result))
    found = {"seconds": 0.002, "loading, cold": 0.01, "first result, cold": 0.1, "peak bytes": 5_000_000, "error": 0}
    network = {"file bytes": {".pt": 1, ".safetensors": 2, ".dcz": 3}, "batch": {"1": {"dense": found}}}
    result = {"command": "c", "commit": "d" * 40, "machine": "m", "threads": 2, "repeats": 3, "missing": {}}
    (tmp_path / "models.json").write_text(json.dumps(result | {"networks": {"Net": network}}))
    one = {"density": 0.35, "ms": {"torch fp32": 1.5}, "dense bytes": 4000, "missing": {"ours": "nothing runs"}}
    result = {"command": "c", "commit": "d" * 40, "machine": "m", "threads": 1, "layers": {"Net conv1": one}}
    (tmp_path / "convolutions.json").write_text(json.dumps(result))
    text = "".join(page.pages(tmp_path).values())
    assert "| fc, 2 x 3, 9% | 16 | 16 | 4 |" in text
    assert "**Not measured:** gone: no wheel." in text
    assert f"| {name} | compressed | 1 | 2.0e-07 | 1,234 |" in text
    assert "| Net conv1 | 35% | 1.5 | 4,000 |  |" in text
    assert "**Not measured:** ours: nothing runs." in text
    assert "| Net, batch 1, dense | 2 | 10 | 100 | 5 |" in text
