"""The experiments: their data, the whole job on small data, and the committed results beside their files."""

import dataclasses
import gzip
import hashlib
import json

import numpy as np
import pytest
import torch
from pictures import write_idx
from typer.testing import CliRunner

import deepcompression as dc
from reproduce import experiment, table
from reproduce.__main__ import app
from reproduce.data import DEVIATION, MD5, MEAN, Distortion, Images, distort, load_test, load_training
from reproduce.experiment import NETWORKS, RESULTS
from reproduce.training import error_percent

# The paper's error, and its ratio in bytes, which the job must reach.
BOUNDS = {"lenet-300-100": (1.58, 26_600), "lenet-5": (0.74, 44_000)}
SEEDS = (0, 1, 2)
PARAMETERS = {"lenet-300-100": 266_610, "lenet-5": 431_080}


def result_path(name, seed):
    return RESULTS / (f"{name}.json" if seed == 0 else f"{name}-seed-{seed}.json")


@pytest.fixture
def small_data(tmp_path):
    """A folder as torchvision has it: 7,000 training and 100 test images whose brightest row shows the label."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count, ending in (("train", 7000, ""), ("t10k", 100, ".gz")):
        labels = rng.integers(0, 10, count, np.uint8)
        images = rng.integers(0, 60, (count, 28, 28), np.uint8)
        images[np.arange(count), 4 + 2 * labels] = 255
        write_idx(folder / f"{part}-images-idx3-ubyte{ending}", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte{ending}", labels)
    return tmp_path / "data"


def test_the_bundled_data_are_the_standard_files():
    test = load_test()
    training, validation = load_training()
    assert (len(training), len(validation), len(test)) == (55_000, 5_000, 10_000)
    assert test.pixels.shape == (10_000, 1, 28, 28)
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert abs(training.pixels.mean().item()) < 1e-2
    assert abs(training.pixels.std().item() - 1) < 1e-2


def test_held_back_images_are_always_the_same_and_never_trained_on(small_data):
    first, second = load_training(small_data), load_training(small_data)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.pixels, b.pixels)
        assert torch.equal(a.labels, b.labels)
    trained = {image.numpy().tobytes() for image in first[0].pixels}
    assert not any(image.numpy().tobytes() in trained for image in first[1].pixels)


def test_damaged_or_missing_data_is_refused(small_data, monkeypatch):
    with pytest.raises(FileNotFoundError, match="t10k-images"):
        load_test(small_data / "nowhere")
    labels = small_data / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    write_idx(labels, np.zeros(99, np.uint8))
    with pytest.raises(ValueError, match="100 images do not go with 99 labels"):
        load_test(small_data)
    labels.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x64" + bytes(99)))
    with pytest.raises(ValueError, match="not an idx file"):
        load_test(small_data)
    monkeypatch.setitem(MD5, "t10k-images-idx3-ubyte", "0" * 32)
    with pytest.raises(ValueError, match="is damaged"):
        load_test()


def test_no_distortion_changes_nothing():
    pixels = load_test().pixels[:8]
    same = distort(pixels, Distortion(0, 0, 0, 0), torch.Generator().manual_seed(0))
    assert torch.allclose(same, pixels, atol=1e-4)


@pytest.mark.parametrize("kind", [field.name for field in dataclasses.fields(Distortion)])
def test_every_distortion_moves_ink_and_leaves_the_background(kind):
    none = dict.fromkeys((field.name for field in dataclasses.fields(Distortion)), 0.0)
    only = Distortion(**(none | {kind: getattr(Distortion(10, 0.1, 0.1, 1.5), kind)}))
    pixels = load_test().pixels[:400]
    moved = distort(pixels, only, torch.Generator().manual_seed(1))
    assert moved.shape == pixels.shape
    assert (moved - pixels).abs().amax((1, 2, 3)).median() > 0.1
    corners = moved[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert torch.allclose(corners, torch.tensor(-MEAN / DEVIATION), atol=1e-4)
    assert abs((moved - pixels).mean().item()) < 0.03
    again = distort(pixels, only, torch.Generator().manual_seed(1))
    assert torch.equal(moved, again)


@pytest.mark.parametrize("name", NETWORKS)
def test_architectures_have_the_papers_parameters(name):
    assert sum(parameter.numel() for parameter in NETWORKS[name].model().parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_schedule_ends_before_pruning_does(name):
    network = NETWORKS[name]
    steps = network.prune.epochs * (55_000 // experiment.BATCH)
    assert network.recipe(name).schedule.last_step < steps


def test_whole_job_on_small_data_writes_what_it_measured(small_data, tmp_path, monkeypatch, capsys):
    name = "lenet-300-100"
    network = NETWORKS[name]
    rule = dc.Rule(tensor="*", prune=dc.Prune(criterion="global-magnitude", density=0.1), share=dc.Share(bits=4))
    recipe = dc.Recipe(rules=(rule,), schedule=dc.Gradual(end=40, every=5))
    phases = {
        phase: dataclasses.replace(getattr(network, phase), epochs=3, warmup=0) for phase in ("dense", "prune", "tune")
    }
    monkeypatch.setattr(experiment.Network, "recipe", lambda self, name: recipe)
    monkeypatch.setitem(NETWORKS, name, dataclasses.replace(network, **phases))
    out = tmp_path / "out"
    path = experiment.run(name, 3, small_data, out)
    assert path == out / "lenet-300-100-seed-3.dcz"
    assert "1/3: loss" in capsys.readouterr().out
    result = json.loads(path.with_suffix(".json").read_text())
    assert result["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert result["report"]["file_bytes"] == path.stat().st_size
    assert result["test_error_percent"] < 50
    assert {"train", "prune", "share"} <= result["stages"].keys()

    again = experiment.run(name, 3, small_data, tmp_path / "again")
    assert again.read_bytes() == path.read_bytes()

    called = CliRunner().invoke(app, ["evaluate", name, str(path), "--data", str(small_data), "--limit", "40"])
    assert called.exit_code == 0, called.output
    expected = error_percent(dc.load(path, into=network.model()), Images(*(t[:40] for t in _parts(small_data))))
    assert f"{expected:.2f} % of 40 test images wrong" in called.output


def _parts(folder):
    test = load_test(folder)
    return test.pixels, test.labels


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_committed_result_is_what_its_file_gives(name, seed):
    path = result_path(name, seed)
    result = json.loads(path.read_text())
    file = path.with_suffix(".dcz")
    assert (result["network"], result["seed"]) == (name, seed)
    assert result["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert result["report"] == json.loads(json.dumps(dc.Report.of(file).to_dict()))
    # another machine may round the last bit of a logit otherwise: of 10,000 images two may then change sides
    assert experiment.evaluate(name, file, load_test()) == pytest.approx(result["test_error_percent"], abs=0.02)
    assert len(result["environment"]["commit"]) == 40
    assert not result["environment"]["changed"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_committed_result_is_as_good_as_the_papers(name, seed):
    result = json.loads(result_path(name, seed).read_text())
    error, size = BOUNDS[name]
    assert round(result["test_error_percent"], 4) <= error
    assert result_path(name, seed).with_suffix(".dcz").stat().st_size <= size


def test_tables_of_the_pages_are_those_of_the_results():
    for path, results in table.tables().items():
        assert len(results) >= len(NETWORKS)
        assert table.with_table(path.read_text(), results) == path.read_text()


def test_only_public_names_are_used():
    public = ("import deepcompression as dc", "from deepcompression.checkpoint import open_checkpoint")
    for path in table.README.parent.glob("reproduce/**/*.py"):
        for line in path.read_text().splitlines():
            if "deepcompression" in line and "import" in line:
                assert line.strip() in public, f"{path}: {line}"
