"""Pictures of the large networks: folders of classes, idx files, broken ones; batches that are always the same."""

import pickle

import numpy as np
import pytest
import torch
from pictures import COLOURS, write_idx, write_pictures
from PIL import Image
from typer.testing import CliRunner

from reproduce.__main__ import app
from reproduce.large.evaluation import NORMALISATIONS, Means, accelerator_for, errors, inputs_of
from reproduce.large.features import FeatureSamples, features
from reproduce.large.networks import VGG16
from reproduce.large.pictures import FolderPictures, check_pictures, open_pictures
from reproduce.large.samples import InOrder, Key, Order, PictureSamples, batches, held_back


@pytest.fixture
def folder(tmp_path):
    return write_pictures(tmp_path / "pictures")


def test_classes_are_folders_in_their_order(folder):
    (folder / "train" / "red" / "._0.jpg").write_bytes(b"what macOS leaves")
    (folder / "train" / "red" / "notes.txt").write_text("no picture")
    training, test = open_pictures(folder)
    assert training.classes == test.classes == ("blue", "green", "red")
    assert training.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert (len(test.labels), training.name(0)) == (9, str(folder / "train" / "blue" / "0.jpg"))
    for index in (0, 7, 17):
        pixel = np.asarray(training.open(index)).mean((0, 1))
        assert np.abs(pixel - list(COLOURS.values())[training.labels[index]]).max() < 15
    assert pickle.loads(pickle.dumps(training)).paths == training.paths


def remove(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda folder: remove(folder), FileNotFoundError, "there is no folder .*pictures"),
        (lambda folder: remove(folder / "val"), FileNotFoundError, "there is no folder .*val"),
        (lambda folder: remove(folder / "train"), FileNotFoundError, "neither a folder train nor a file train-images"),
        (lambda folder: [remove(folder / "train" / name) for name in COLOURS], ValueError, "train has 0 folders"),
        (lambda folder: remove(folder / "val" / "red"), ValueError, "different classes; only one of them has red"),
        (
            lambda folder: [path.unlink() for path in (folder / "train" / "green").iterdir()],
            ValueError,
            "train has classes without any picture: green",
        ),
    ],
)
def test_missing_folders_and_classes_are_named(folder, spoil, error, message):
    spoil(folder)
    with pytest.raises(error, match=message):
        open_pictures(folder)


def test_broken_pictures_are_named(folder):
    text, cut = folder / "train" / "red" / "2.jpg", folder / "val" / "blue" / "1.jpg"
    whole = open_pictures(folder)
    check_pictures(whole, whole=True)
    cut.write_bytes(cut.read_bytes()[:-300])
    # the first bytes are as they should be
    check_pictures(whole)
    with pytest.raises(ValueError, match=f"^1 broken pictures.*{cut}"):
        check_pictures(whole, whole=True)
    with pytest.raises(ValueError, match=f"{cut}: no picture can be read"):
        whole[1].open(1)
    text.write_text("no picture at all")
    with pytest.raises(ValueError, match=f"^1 broken pictures.*{text}"):
        check_pictures(whole)
    called = CliRunner().invoke(app, ["check", str(folder)])
    assert called.exit_code == 1
    assert "2 broken pictures" in called.stderr


def test_good_pictures_pass_the_check(folder):
    called = CliRunner().invoke(app, ["check", str(folder)])
    assert called.exit_code == 0, called.output
    assert "18 training and 9 test pictures" in called.output


def test_idx_files_are_grey_pictures(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 10)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28), np.uint8))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", rng.integers(0, 10, count, np.uint8))
    training, test = open_pictures(tmp_path)
    assert (len(training.labels), len(test.labels), len(training.classes)) == (30, 10, 10)
    pixels, label = PictureSamples(test, 56)[Key(3)]
    assert label == test.labels[3]
    assert pixels.shape == (3, 56, 56)
    # grey, and the whole picture
    assert torch.equal(pixels[0], pixels[2])
    assert np.abs(pixels[0].numpy().astype(float).mean() - np.asarray(test.open(3)).mean()) < 3
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.full(10, 10, np.uint8))
    with pytest.raises(ValueError, match="labels must be from 0 to 9"):
        open_pictures(tmp_path)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.zeros(9, np.uint8))
    with pytest.raises(ValueError, match="10 images do not go with 9 labels"):
        open_pictures(tmp_path)


def test_a_part_is_cut_out_at_random_but_always_the_same(folder):
    training, _ = open_pictures(folder)
    samples = PictureSamples(training, 32)
    first, label = samples[Key(2, (0, 1, 2))]
    assert (first.shape, first.dtype, label) == ((3, 32, 32), torch.uint8, 0)
    assert torch.equal(first, samples[Key(2, (0, 1, 2))][0])
    assert not torch.equal(first, samples[Key(2, (0, 1, 3))][0])
    tested = samples[Key(2)][0]
    assert torch.equal(tested, samples[Key(2)][0])


def test_half_of_the_pictures_are_flipped():
    slope = np.broadcast_to(np.arange(0, 250, 5, dtype=np.uint8), (50, 50))

    class One:
        labels, classes, cut = np.zeros(1, int), ("a",), FolderPictures.cut

        def open(self, index):
            return Image.fromarray(slope)

    samples = PictureSamples(One(), 16)
    rising = [samples[Key(0, (seed,))][0][0].float() for seed in range(200)]
    flipped = sum(pixels[:, -1].mean() < pixels[:, 0].mean() for pixels in rising)
    assert 70 < flipped < 130


def test_held_back_pictures_are_always_the_same_and_never_trained_on():
    for count in (30, 1000, 60_000):
        chosen, validation = held_back(count)
        assert len(validation) == min(5000, count // 10)
        assert np.array_equal(np.sort(np.concatenate([chosen, validation])), np.arange(count))
        assert np.array_equal(chosen, held_back(count)[0])


def keys(first=0, last=9, rank=0, ranks=1, seed=(0, 1)):
    return list(Order(np.arange(100, 130), 10, seed, first, last, rank, ranks))


def test_an_epoch_takes_every_picture_once():
    for epoch in range(3):
        taken = [key.index for batch in keys()[3 * epoch : 3 * epoch + 3] for key in batch]
        assert sorted(taken) == list(range(100, 130))
    assert keys()[0] != keys()[3]
    assert keys() != keys(seed=(0, 2))
    assert len({key.seed for batch in keys() for key in batch}) == 90


def test_a_resumed_order_is_the_same():
    assert keys(first=4) == keys()[4:]


def test_ranks_share_each_batch():
    whole, parts = keys(), [keys(rank=rank, ranks=2) for rank in range(2)]
    for batch, one, two in zip(whole, *parts, strict=True):
        assert len(one) == len(two) == 5
        assert sorted(one + two) == sorted(batch)
    tested = [key.index for rank in range(3) for batch in InOrder(np.arange(20), 4, rank, 3) for key in batch]
    assert sorted(tested) == list(range(20))


@pytest.fixture(scope="module")
def means():
    return Means(accelerator_for("float32"), 4, 0, 0, 1)


def test_pixels_are_normalised_as_said(folder):
    samples = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    samples[:, 0] = 255
    found = inputs_of(samples, torch.device("cpu"), NORMALISATIONS["imagenet"])
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert torch.allclose(found[0, :, 0, 0], torch.tensor(expected))
    found = inputs_of(samples, torch.device("cpu"), NORMALISATIONS["caffe"])
    assert torch.allclose(found[0, :, 0, 0], torch.tensor([255 - 122.67892, -116.66877, -104.00699]))


def test_errors_are_those_of_each_picture(folder, means):
    training, _ = open_pictures(folder)
    samples = PictureSamples(training, 32)
    torch.manual_seed(0)
    model = VGG16(7, 0.02, 32)
    indices = np.array([1, 4, 8, 9, 16])
    one = two = 0
    model.eval()
    for index in indices:
        pixels, label = samples[Key(int(index))]
        with torch.inference_mode():
            best = model(inputs_of(pixels[None], torch.device("cpu"), NORMALISATIONS["imagenet"]))[0].topk(5).indices
        one += best[0].item() != label
        two += label not in best.tolist()
    found = errors(model, samples, indices, NORMALISATIONS["imagenet"], means)
    assert (found.top1, found.top5) == pytest.approx((20 * one, 20 * two))


def test_features_are_computed_once_and_resumed(folder, means, tmp_path, monkeypatch):
    monkeypatch.setattr("reproduce.large.features._BLOCK", 4)
    training, _ = open_pictures(folder)
    samples = PictureSamples(training, 32)
    torch.manual_seed(0)
    model = VGG16(7, 0.02, 32)
    indices = np.array([3, 17, 5, 0, 9, 11, 2, 8, 14, 15])
    normalisation, path = NORMALISATIONS["imagenet"], tmp_path / "features.npy"
    found = features(model, samples, indices, normalisation, means, path)
    assert isinstance(found, FeatureSamples)
    rows = np.array(found.rows)
    for row, index in enumerate(indices):
        with torch.inference_mode():
            expected = model.features(inputs_of(samples[Key(int(index))][0][None], torch.device("cpu"), normalisation))
        assert np.allclose(rows[row], expected[0].numpy(), atol=2e-3)
        assert found.labels[row] == training.labels[index]
    assert rows.any()
    (values, labels) = next(iter(batches(found, InOrder(np.arange(10), 4, 0, 1), 0)))
    assert torch.equal(values, torch.from_numpy(rows[:4]))
    assert labels.tolist() == training.labels[indices[:4]].tolist()

    # interrupted after the first block
    mark = path.with_suffix(".json")
    made = mark.read_text()
    mark.write_text(made.replace('"done": 10', '"done": 4'))
    spoilt = np.load(path, mmap_mode="r+")
    spoilt[4:] = 0
    spoilt.flush()
    assert np.array_equal(features(model, samples, indices, normalisation, means, path).rows, rows)
    # nothing is computed again
    monkeypatch.setattr(VGG16, "features", None)
    assert np.array_equal(features(model, samples, indices, normalisation, means, path).rows, rows)
    with pytest.raises(ValueError, match=r"features\.npy holds features of other pictures"):
        features(model, samples, indices[:5], normalisation, means, path)
    with torch.no_grad():
        model.conv1_1.weight.add_(1)
    with pytest.raises(ValueError, match="or convolutions"):
        features(model, samples, indices, normalisation, means, path)
