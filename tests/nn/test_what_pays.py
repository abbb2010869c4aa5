"""What `run` holds compressed by the real costs, by those of a made-up machine, and by measured times."""

import json
import math
import sys

import pytest
import torch
from running_models import compressed, linear, packed_names, recipe
from torch import nn

import deepcompression as dc
from deepcompression import _core
from deepcompression.nn import tuning, what_pays
from deepcompression.nn.build import DENSE_REASONS
from deepcompression.nn.what_pays import Expected, convolution_pays
from deepcompression.packed import costs
from deepcompression.packed.convolution import ConvolutionSettings
from deepcompression.packed.costs import FEATURES, Work


class Made:
    """Costs in seconds, for each kind a number or a function of the work."""

    margin = 0.1

    def __init__(self, **seconds):
        self.table = {"dense": 1.0, "look_ups_dense": 0.0} | seconds

    def seconds(self, kind, work):
        found = self.table[kind.replace(" ", "_").replace("-", "_")]
        return found(work) if callable(found) else found

    def step(self, layer, way, work, inputs):
        return self.seconds(way, inputs)


@pytest.fixture
def machine(monkeypatch):
    return lambda **seconds: monkeypatch.setattr(what_pays, "costs", lambda *key: Made(**seconds))


def row_of(model, **options):
    (row,) = (row for row in dc.explain(dc.run(model, **options)).rows if row.shape[0] > 1)
    return row


@pytest.mark.parametrize(("packed", "pays"), [(0.5, True), (0.95, False), (2.0, False)])
def test_a_product_pays_where_it_is_faster_by_the_margin(machine, packed, pays):
    machine(float32=packed)
    row = row_of(linear(), batch=4)
    assert row.packed == pays
    assert row.expected == (Expected(4, 1.0, packed),)
    assert "expected for 4 vectors, dense 1e+06 us" in row.why
    assert ("too near" in row.why) == (packed == 0.95)


def test_memory_is_preferred_where_that_is_asked_for(machine):
    machine(float32=9.0)
    assert row_of(linear(), batch=4, prefer="memory").packed
    assert not row_of(linear(), batch=4).packed


def test_without_a_batch_a_product_pays_for_one_vector_as_for_many(machine):
    def slow_for(count):
        return lambda work: 2.0 if work.vectors == count else 0.1

    machine(float32_for_1=slow_for(64), float32_for_64=0.1)
    assert row_of(linear()).form == "panel"
    machine(float32_for_1=slow_for(64), float32_for_64=slow_for(1))
    row = row_of(linear())
    assert not row.packed
    assert row.why.endswith("batch= was not named, so it must pay for 1, 8 and 64 vectors")
    assert "64 vectors" in row.why.partition(";")[0]
    machine(float32_for_1=0.1, float32_for_64=slow_for(1))
    assert row_of(linear()).form == "window"


def test_look_ups_may_add_a_small_part_to_the_time_of_the_network(machine):
    def network(tables):
        torch.manual_seed(0)
        embeddings = [nn.Embedding(200, 32) for _ in range(tables)]
        return compressed(nn.Sequential(*embeddings, nn.Linear(80, 96)))

    machine(float32=0.1, look_ups=0.8 * what_pays.LOOK_UPS)
    assert packed_names(dc.run(network(1), batch=1)) == {"0.weight", "1.weight"}
    # two tables share the part
    assert packed_names(dc.run(network(2), batch=1)) == {"2.weight"}
    assert packed_names(dc.run(compressed(nn.Embedding(200, 32)), batch=1)) == set(), "nothing but look-ups"


def test_a_recurrent_layer_pays_by_its_whole_time_step(machine):
    torch.manual_seed(0)
    model = compressed(nn.LSTM(40, 32))
    machine(float32=0.5)
    assert packed_names(dc.run(model, batch=2)) == {"weight_ih_l0", "weight_hh_l0"}
    machine(float32=1.5)
    assert packed_names(dc.run(model, batch=2)) == set()


def test_the_layers_of_a_recurrent_module_pay_together_or_not_at_all(machine):
    torch.manual_seed(0)
    model = compressed(nn.LSTM(80, 32, 2))
    # the second layer alone would be slower packed
    machine(dense=lambda work: work.columns, float32=50.0)
    small = dc.run(model, batch=2)
    assert len(packed_names(small)) == 4
    machine(dense=lambda work: work.columns, float32=55.0)
    small = dc.run(model, batch=2)
    assert packed_names(small) == set()
    assert type(small) is nn.LSTM


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("packed", [50.0, 55.0])
def test_a_model_that_was_just_shared_is_held_as_its_file_is(machine, kind, packed, tmp_path):
    model = nn.Sequential(kind(80, 32, 2))
    dc.prune(model, recipe())
    dc.share(model, recipe())
    dc.save(model, tmp_path / "model.dcz")
    # one matrix alone would be faster packed
    machine(dense=lambda work: work.columns, float32=packed)
    small, of_file = dc.run(model, batch=2), dc.run(nn.Sequential(kind(80, 32, 2)), tmp_path / "model.dcz", batch=2)
    assert packed_names(small) == packed_names(of_file)
    assert small.state_dict().keys() == of_file.state_dict().keys()


def test_a_network_that_stays_dense_is_what_it_was(machine, tmp_path):
    machine(float32=9.0, float32_for_1=9.0, float32_for_64=9.0, convolution_dense=1.0, look_ups=9.0, convolution=9.0)
    torch.manual_seed(0)
    layers = [nn.Linear(80, 96), nn.Conv2d(64, 64, 3), nn.Embedding(200, 32), nn.LSTM(40, 32)]
    model = compressed(nn.Sequential(*layers))
    dc.save(model, tmp_path / "model.dcz")
    for small in (dc.run(model), dc.run(model, tmp_path / "model.dcz")):
        for module, ours in zip(model.modules(), small.modules(), strict=True):
            assert type(module) is type(ours)
            assert set(ours.__dict__) - set(module.__dict__) <= {DENSE_REASONS}
            hooks = [name for name in vars(ours) if name.endswith("hooks") and vars(ours)[name]]
            assert not hooks
        for parameter in small.parameters():
            assert type(parameter) is nn.Parameter
            assert parameter.is_contiguous()
            assert parameter.data_ptr() % 64 == 0, "vectors would lie across two cache lines"


def test_a_convolution_that_its_inputs_make_slow_keeps_its_dense_weights(machine, monkeypatch):
    monkeypatch.setattr(what_pays, "has_kernel", lambda *facts: True)
    machine(convolution_dense=1.0, convolution=lambda work: 0.1 if work.positions > 100 else 2.0)
    torch.manual_seed(0)
    model = compressed(nn.Conv2d(64, 64, 3, padding=1))
    small = dc.run(model)
    assert small.weight.keeps_dense
    with torch.no_grad():
        for extent, kept in ((12, False), (4, True)):
            x = torch.randn(2, 64, extent, extent)
            torch.testing.assert_close(small(x), model(x), atol=1e-5, rtol=1e-5)
            assert (small.weight.kept is not None) == kept
    (row,) = dc.explain(small).rows
    assert row.bytes == small.weight.packed.numel() + model.weight.nbytes
    assert "kept dense as well" in row.why
    with torch.no_grad():
        other = compressed(nn.Conv2d(64, 64, 3, padding=1))
        packed = dc.run(other, prefer="memory").weight.packed
        given = {"weight.packed": packed, "bias": other.bias}
        torch.testing.assert_close(torch.func.functional_call(small, given, (x,)), other(x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(small(x), model(x), atol=1e-5, rtol=1e-5)
    small.load_state_dict(dc.run(model).state_dict())
    assert small.weight.kept is None, "they would be those of other weights"
    assert not dc.run(model, prefer="memory").weight.keeps_dense


def test_a_convolution_without_a_kernel_stays_dense():
    torch.manual_seed(0)
    for other in ({"stride": 2}, {"groups": 64}):
        assert "decode" in row_of(compressed(nn.Conv2d(64, 64, 9, **other))).why
        settings = ConvolutionSettings.of(2, **other)
        assert not convolution_pays(torch.empty(1, 64, 20, 20), (64, 64, 3, 3), 100, settings)


def test_the_table_of_the_package_has_every_instruction_set_and_kind():
    table = costs.table()
    assert set(table["sets"]) >= set(_core.instruction_sets()) | {"portable", "avx2", "avx512", "neon"}
    for name in table["sets"]:
        assert 0 < table["errors"][name]["close"] < 1
        for threads in (1, 2, 64):
            known = costs.Costs(table, name, threads, "another CPU")
            assert known.margin == 2 * table["errors"][name]["close"]
            for kind in FEATURES:
                small, large = (known.seconds(kind, Work(n, n, n * n, 3, n, n)) for n in (64, 4096))
                assert 0 <= small <= large < 100, (name, kind)
    assert costs.Costs(table, "avx2", 1, table["machine"]["id"]).margin == table["errors"]["avx2"]["close"]


def test_times_grow_with_vectors_between_those_that_were_measured():
    lines = {"1": [0, 0, 0, 1], "4": [0, 0, 0, 4], "16": [0, 0, 0, 8]}
    table = {
        "sets": {"x": {"2": {"float32": lines}}},
        "caches": [],
        "errors": {"x": {"close": 0}},
        "machine": {"id": ""},
    }
    known = costs.Costs(table, "x", 1, "")
    found = [known.seconds("float32", Work(1, 1, 1000, count)) * 1e6 for count in (1, 2, 4, 8, 16, 64)]
    assert found == pytest.approx([1, 2, 4, math.sqrt(32), 8, 32])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "cache_file", lambda: tmp_path / "deep" / "times.json")
    return tmp_path / "deep" / "times.json"


@pytest.mark.parametrize("packed", [0.5, 2.0])
def test_measured_times_decide_and_are_kept(machine, cache, monkeypatch, packed):
    machine(float32=1 / packed)
    calls = []
    monkeypatch.setattr(tuning, "_measured", lambda *each: calls.append([call() for call in each]) or [1.0, packed])
    for _ in range(2):
        row = row_of(linear(), batch=3, tune=True)
        assert row.packed == (packed < 1)
        assert row.expected == (Expected(3, 1.0, packed),)
    (both,) = calls
    torch.testing.assert_close(*both)
    assert list(json.loads(cache.read_text()).values()) == [[1.0, packed]]


@pytest.mark.parametrize(
    "make", [lambda: nn.Conv1d(64, 64, 3), lambda: nn.Conv2d(64, 64, 3), lambda: nn.Embedding(99, 64)]
)
def test_every_use_is_measured_on_the_same_inputs(cache, monkeypatch, make):
    calls = []
    monkeypatch.setattr(tuning, "_measured", lambda *each: calls.append([call() for call in each]) or [1.0, 0.1])
    torch.manual_seed(0)
    dc.run(compressed(make()), batch=2, tune=True)
    (both,) = calls
    torch.testing.assert_close(*both, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        (tuning, "cpu_id", lambda: "another CPU"),
        (tuning, "version", lambda package: "9.9"),
        (torch, "__version__", "9.9"),
        (torch, "get_num_threads", lambda: 77),
        (_core, "instruction_set", lambda: "portable"),
    ],
)
def test_times_of_another_machine_version_or_setting_are_measured_again(cache, monkeypatch, place, name, value):
    measured = []
    monkeypatch.setattr(tuning, "_measured", lambda *each: measured.append(each) or [1.0, 0.5])
    row_of(linear(), batch=3, tune=True)
    with monkeypatch.context() as patch:
        patch.setattr(place, name, value)
        row_of(linear(), batch=3, tune=True)
    assert len(measured) == 2
    row_of(linear(), batch=3, tune=True)
    assert len(measured) == 2, "the first times are still kept"
    row_of(linear(), batch=4, tune=True)
    assert len(measured) == 3
    assert len(json.loads(cache.read_text())) == 3


def test_a_machine_measures_once_and_then_reads_what_it_measured(cache, monkeypatch):
    model = linear()
    first = row_of(model, batch=3, tune=True)
    (times,) = json.loads(cache.read_text()).values()
    assert first.expected == (Expected(3, *times),)
    assert min(times) > 0
    assert first.packed == (times[1] <= times[0])
    monkeypatch.setattr(tuning, "_measured", lambda *each: pytest.fail("measured again"))
    assert row_of(model, batch=3, tune=True) == first


@pytest.mark.parametrize("text", ["", "[]", '{"a": [1.0]}', '{"a": [0.0, -1.0]}', '{"a": "b"}', "[" * 100_000])
def test_a_spoilt_cache_is_ignored_with_a_warning(cache, text):
    cache.parent.mkdir()
    cache.write_text(text)
    with pytest.warns(UserWarning, match=r"times.json is ignored"):
        row_of(linear(), batch=3, tune=True)
    assert len(json.loads(cache.read_text())) == 1


def test_times_that_cannot_be_kept_are_said(cache):
    cache.parent.write_text("a file in the place of the folder")
    with pytest.warns(UserWarning, match="the measured times are not kept"):
        row_of(linear(), batch=3, tune=True)


def test_a_folder_that_there_cannot_be_is_said(monkeypatch):
    monkeypatch.setenv("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "x" * 300)
    with pytest.warns(UserWarning, match=r"times.json is ignored|the measured times are not kept") as found:
        row_of(linear(), batch=3, tune=True)
    assert len(found) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(96, 64), lambda: nn.Conv2d(16, 32, 3), lambda: nn.Embedding(200, 48)]
)
def test_measuring_takes_the_dtype_of_the_model_and_none_of_its_random_numbers(cache, make, dtype):
    model = compressed(make()).to(dtype)
    before = torch.get_rng_state()
    dc.run(model, batch=2, tune=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_user_without_a_home_measures_each_time(monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(tuning.Path, "home", none)
    with pytest.warns(UserWarning, match="no home folder"):
        times = tuning.Times()
    times.keep()
