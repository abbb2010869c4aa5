"""`dcz bench`: its measurements and its output. Times are only compared with 0: machines differ."""

import json
import re
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from cases import dense, shared
from commands import refused, run

import deepcompression as dc
from deepcompression import _core, cli
from deepcompression.bench import TABLES, Settings, bench, engines, lines, measure
from deepcompression.bench.energy import Meter, UnmeasurableError
from deepcompression.tensors.tensor import DenseTensor

QUICK = Settings(seconds=0.001)


def thinned(shape, step=3, centroids=5, dtype="F32"):
    size = int(np.prod(shape))
    return shared(size, list(range(0, size, step)), centroids, dtype, shape)


MEASURED = {
    "fc.weight": thinned((20, 30)),
    "conv1.weight": thinned((4, 3, 5)),
    "conv2.weight": thinned((4, 3, 3, 2), 2, dtype="BF16"),
    "conv3.weight": thinned((2, 3, 1, 3, 3)),
}
STAYING = {
    "fc.bias": (dense("F32", (20,)), "is no matrix"),
    "scale": (DenseTensor("F32", np.array(2, "<f4")), "is no matrix"),
    "ids": (dense("I64", (4, 5)), "I64 is no dtype of weights"),
    "many": (DenseTensor.from_numpy(np.arange(1000, dtype="f4").reshape(20, 50)), "is not shared"),
    "none": (dense("F32", (0, 5)), "has no elements"),
    "deep": (dense("F32", (1,) * 6), "has 6 dimensions"),
    "tied": (dc.Tie("fc.weight"), "is tied to fc.weight"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dc.save_tensors("m.dcz", MEASURED | {name: tensor for name, (tensor, _) in STAYING.items()})
    return tmp_path


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setattr(engines, "with_torch", lambda: False)


def test_every_tensor_is_measured_or_has_a_reason_not_to_be():
    result = bench("m.dcz", QUICK)
    assert [layer.name for layer in result.layers] == [*MEASURED, *STAYING]
    for layer in result.layers:
        if layer.name in MEASURED:
            tensor = MEASURED[layer.name]
            assert layer.stays is None
            assert layer.density == tensor.density
            assert layer.dense_bytes == 4 * tensor.size
            assert min(layer.dense_ms, layer.compressed_ms, layer.held_bytes) > 0
            assert layer.speed_up == layer.dense_ms / layer.compressed_ms
        else:
            assert layer.stays == STAYING[layer.name][1]
            assert layer.dense_ms is layer.speed_up is None
    assert result.dense_engine == f"torch {torch.__version__}"
    assert result.energy is None


def test_bytes_moved_are_weights_and_activations_in_and_out():
    layers = {layer.name: layer for layer in bench("m.dcz", Settings(3, size=7, seconds=0.001)).layers}
    fc, conv = layers["fc.weight"], layers["conv1.weight"]
    assert fc.dense_moved - fc.dense_bytes == fc.moved_bytes - fc.held_bytes == 4 * 3 * (30 + 20)
    assert conv.dense_moved - conv.dense_bytes == 4 * 3 * (3 * 7 + 4 * 7)


def test_the_sum_has_the_times_of_measured_layers_and_the_bytes_of_all():
    result = bench("m.dcz", QUICK)
    total, measured = result.total(), [layer for layer in result.layers if layer.stays is None]
    assert total.dense_ms == pytest.approx(sum(layer.dense_ms for layer in measured))
    assert total.held_bytes == sum(layer.held_bytes for layer in result.layers)
    assert next(layer.held_bytes for layer in result.layers if layer.name == "tied") == 0


def test_without_torch_dense_is_numpy_and_computes_the_same(without_torch, monkeypatch):
    found = []
    monkeypatch.setattr(
        measure, "interleaved_medians", lambda calls, *_: found.append([np.asarray(c()) for c in calls]) or [1, 1]
    )
    assert bench("m.dcz", Settings(2, 2, seconds=0.001)).dense_engine == f"NumPy {np.__version__}"
    monkeypatch.setattr(engines, "with_torch", lambda: True)
    bench("m.dcz", Settings(2, 2, seconds=0.001))
    assert len(found) == 2 * len(MEASURED)
    for (ours, compressed), (torchs, again) in zip(found[:4], found[4:], strict=True):
        np.testing.assert_allclose(ours, torchs, atol=1e-5)
        np.testing.assert_allclose(compressed, torchs, atol=1e-5)
        np.testing.assert_allclose(again, torchs, atol=1e-5)


# name -> a weight that `run` can hold compressed, or the beginning of the reason why it stays dense
HELD = {
    "conv.weight": (thinned((64, 64, 5, 5), 1), "dense: each call would decode"),
    "large.weight": (thinned((2048, 2048), 20), "compressed"),
    "emb.weight": (thinned((5000, 16), 3), "compressed"),
    "small.weight": (thinned((8, 9)), "dense: fewer than 4,096 weights"),
}


def test_it_says_how_run_holds_each_weight_and_what_it_expects(monkeypatch):
    dc.save_tensors("held.dcz", {name: tensor for name, (tensor, _) in HELD.items()})
    monkeypatch.setattr(measure, "interleaved_medians", lambda *_: [1.0, 0.25])
    result = bench("held.dcz", Settings(batch=1))
    for layer in result.layers:
        assert layer.run.startswith(HELD[layer.name][1]), layer.run
        assert layer.run_ms == (250 if layer.run == "compressed" else 1000)
    expected = {layer.name: layer.expected_speed_up for layer in result.layers}
    assert expected["large.weight"] > 1 > expected["emb.weight"] > 0
    assert expected["conv.weight"] is expected["small.weight"] is None
    assert result.run_ms() == result.to_dict()["sum"]["run_ms"] == 2500
    assert "takes 2500 ms for the measured layers, dense 4000 ms" in " ".join(lines(result))


class Layers(torch.nn.Module):
    """The weights of `HELD` as its modules."""

    def __init__(self):
        super().__init__()
        self.conv, self.large = torch.nn.Conv2d(64, 64, 5, padding=2), torch.nn.Linear(2048, 2048)
        self.emb, self.small = torch.nn.Embedding(5000, 16), torch.nn.Linear(9, 8)


@pytest.mark.parametrize("batch", [1, 64])
def test_run_holds_the_weights_so(batch, monkeypatch):
    dc.save_tensors("held.dcz", {name: tensor for name, (tensor, _) in HELD.items()})
    monkeypatch.setattr(measure, "interleaved_medians", lambda *_: [1.0, 0.25])
    said = {layer.name: layer for layer in bench("held.dcz", Settings(batch, torch.get_num_threads())).layers}
    with pytest.warns(UserWarning, match="bias"):
        small = dc.run(Layers(), "held.dcz", batch=batch, strict=False)
    for row in dc.explain(small).rows:
        layer = said[row.names[0]]
        assert row.packed == (layer.run == "compressed"), row.why
        assert row.why.endswith(layer.run.removeprefix("dense: ")) or row.packed or layer.name == "small.weight"
        if row.packed:
            assert layer.kernel.startswith(row.form)
            assert layer.held_bytes == row.bytes
            assert [layer.expected_dense_ms, layer.expected_ms] == [1000 * each for each in row.expected[0][1:]]


def test_threads_and_instruction_set_are_restored():
    threads, used = torch.get_num_threads(), _core.instruction_set()
    result = bench("m.dcz", Settings(threads=2, seconds=0.001), instruction_set="portable")
    assert result.instruction_set == "portable"
    assert (torch.get_num_threads(), _core.instruction_set()) == (threads, used)


def test_int8_is_measured_where_it_is_computed():
    layers = {layer.name: layer for layer in bench("m.dcz", Settings(activations="int8", seconds=0.001)).layers}
    assert "int8" in layers["fc.weight"].kernel
    assert "int8" not in layers["conv2.weight"].kernel


def test_calls_take_turns():
    order = []
    medians = measure.interleaved_medians((lambda: order.append("a"), lambda: order.append("b")), 0)
    turns = re.findall(r"a+b+", "".join(order))
    assert len(turns) >= 3
    assert min(medians) > 0


def test_the_command_prints_a_row_a_tensor_and_the_meaning_of_the_numbers():
    code, printed, _ = run("bench m.dcz --seconds 0.001 --size 9 --threads 2")
    assert code == 0
    words = (
        "fc.weight",
        "20x30",
        "33.3%",
        "window, float32",
        "stays dense: is not shared",
        "scalar",
        "sum",
        "speed-up",
    )
    for word in (*words, "batch 1, 2 threads", f"torch {torch.__version__}", "extent 9 (--size)", "Moved bytes are"):
        assert word in printed, word
    assert "Energy" not in printed


def test_the_command_prints_json():
    code, printed, _ = run("bench m.dcz --json --seconds 0.001 --batch 2 --instruction-set portable")
    result = json.loads(printed)
    assert code == 0
    assert result["settings"] == asdict(Settings(2, seconds=0.001)) | {"tables": list(TABLES)}
    assert [layer["name"] for layer in result["layers"]] == [*MEASURED, *STAYING]
    assert result["instruction_set"] == "portable"
    assert result["sum"]["speed_up"] > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--batch 0", "batch is from 1 on; found 0"),
        ("--threads 0", "threads is from 1 on; found 0"),
        ("--threads 1000000", "on this machine; found 1000000"),
        ("--size -3", "size is from 1 on; found -3"),
        ("--seconds 0", "seconds are above 0, at most 600; found 0"),
        ("--seconds nan", "seconds are above 0, at most 600; found nan"),
        ("--activations bf16", "activations are float32 or int8; found 'bf16'"),
        ("--instruction-set mmx", "mmx"),
    ],
)
def test_a_mistake_in_the_call_is_2(options, words):
    refused(f"bench m.dcz {options}", cli.MISTAKE, words)


def test_a_bad_file_is_3_and_a_missing_one_2(folder):
    data = bytearray((folder / "m.dcz").read_bytes())
    data[-1] ^= 1
    (folder / "damaged.dcz").write_bytes(data[:-1])
    refused("bench damaged.dcz", cli.BAD_FILE, "damaged")
    refused("bench m.dcz --limit-bytes 100", cli.BAD_FILE, "the limit is 100")
    refused("bench no.dcz", cli.MISTAKE, "no.dcz: No such file")


def test_a_file_without_shared_weights_is_no_mistake():
    dc.save_tensors("plain.dcz", {"odd[/b]\x1b[31m": dense("F32", (3,))})
    code, printed, _ = run("bench plain.dcz")
    assert code == 0
    assert r"odd[/b]\x1b[31m" in printed


def counting(step):
    """A meter on which every reading is `step` microjoules after the last."""
    readings = iter(range(0, 10**12, step))
    return Meter("RAPL (package-0)", lambda: (next(readings),), (0,))


def test_energy_is_measured_by_layer(monkeypatch):
    monkeypatch.setattr("deepcompression.cli.bench.rapl", lambda: counting(5_000_000))
    code, printed, _ = run("bench m.dcz --energy --seconds 0.001")
    assert code == 0
    for word in ("energy", "from all that RAPL (package-0) counts", "Doing nothing, the machine takes"):
        assert word in printed, word
    result = bench("m.dcz", QUICK, meter=lambda: counting(5_000_000))
    assert all(layer.joules > 0 and layer.energy_ratio > 0 for layer in result.layers if layer.stays is None)
    assert result.total().energy_ratio > 0


def test_one_line_says_why_energy_is_not_measured(monkeypatch):
    def refuse():
        raise UnmeasurableError("no RAPL counters in /sys")

    monkeypatch.setattr("deepcompression.cli.bench.rapl", refuse)
    code, printed, _ = run("bench m.dcz --energy --seconds 0.001")
    assert code == 0
    assert printed.splitlines()[-1] == "Energy not measured: no RAPL counters in /sys."
    assert "Moved bytes are" in printed
    result = json.loads(run("bench m.dcz --energy --seconds 0.001 --json")[1])
    assert result["energy"] == "not measured: no RAPL counters in /sys"
    assert result["layers"][0]["moved_bytes"] > 0


def test_the_command_and_the_runtime_work_without_torch():
    code = """
import sys
sys.modules["torch"] = None
import numpy as np
from deepcompression.cli import app
from deepcompression.runtime import Linear, Sequence
assert app("bench m.dcz --seconds 0.001".split(), standalone_mode=False) in (None, 0)
print(Sequence.load("m.dcz", [Linear("fc")], strict=False)(np.ones((2, 30), "f4")).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "NumPy" in done.stdout
    assert done.stdout.splitlines()[-1] == "(2, 20)"


TABLES_IN_MODELS = [
    "bert.embeddings.word_embeddings.weight",
    "model.embed_tokens.weight",
    "transformer.wte.weight",
    "tok_embeddings.weight",
]
NO_TABLES = ["time_embedding.linear_1.weight", "patch_embed.proj.weight", "fc.weight"]


def test_rows_of_embedding_tables_are_looked_up_and_this_is_said():
    dc.save_tensors("e.dcz", {name: thinned((50, 16)) for name in TABLES_IN_MODELS + NO_TABLES})
    result = bench("e.dcz", Settings(3, seconds=0.001))
    kernels = {layer.name: layer.kernel for layer in result.layers}
    assert {name for name, kernel in kernels.items() if "rows looked up" in kernel} == set(TABLES_IN_MODELS)
    for layer in result.layers:
        moved = 4 * 3 * (16 + 50) if layer.name in NO_TABLES else 3 * (8 + 4 * 16)
        assert layer.dense_moved - layer.dense_bytes == moved
    said = next(line for line in lines(result) if "rows are looked up in" in line)
    assert "--table" in said
    assert TABLES_IN_MODELS[0] in said


def test_both_ways_to_look_up_rows_give_the_same(monkeypatch):
    found = []
    monkeypatch.setattr(
        measure, "interleaved_medians", lambda calls, *_: found.extend(np.asarray(c()) for c in calls) or [1, 1]
    )
    table = thinned((50, 16))
    dc.save_tensors("e.dcz", {"shared.weight": table})
    bench("e.dcz", Settings(7, tables=("shared",), seconds=0.001))
    np.testing.assert_array_equal(*found)
    assert all(row in table.numpy() for row in found[0])


def test_the_command_takes_the_names_of_tables():
    code, printed, _ = run("bench m.dcz --seconds 0.001 --table fc --json")
    kernels = {layer["name"]: layer["kernel"] for layer in json.loads(printed)["layers"]}
    assert code == 0
    assert "rows looked up" in kernels["fc.weight"]


def test_without_torch_tables_are_left_out_and_this_is_said(without_torch):
    dc.save_tensors("e.dcz", {"embed.weight": thinned((50, 16))})
    (layer,) = bench("e.dcz", QUICK).layers
    assert layer.stays == "is an embedding table, whose look-ups are measured with torch"
