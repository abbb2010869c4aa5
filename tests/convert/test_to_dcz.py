"""Checkpoints compressed tensor by tensor: the same bytes as all at once, in little memory, and nothing lost."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import content, dense, shared

from benchmarks.speed import big_checkpoint
from deepcompression.checkpoint import open_checkpoint, read_tensors, recognise, write_tensors
from deepcompression.coding.encode_part import Encode
from deepcompression.convert.tensors import compress_tensors
from deepcompression.convert.to_dcz import compress_checkpoint
from deepcompression.file.reader import DczFile, load_tensors
from deepcompression.file.report import Report
from deepcompression.file.writer import save_tensors
from deepcompression.pruning.criteria import CRITERIA, Prune
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.sharing.codebook import CODEBOOKS
from deepcompression.sharing.share_weights import Share
from deepcompression.tensors.dtypes import narrow
from deepcompression.tensors.tensor import DenseTensor
from deepcompression.training.save_load import encodings


def normal(shape, dtype="F32", seed=0):
    values = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape, np.float32)
    return DenseTensor(dtype, narrow(values, dtype))


TENSORS = {
    "a.weight": normal((60, 70)),
    "a.bias": normal((60,), seed=1),
    "b.weight": normal((30, 20, 3, 3), "BF16", 2),
    "c.weight": normal((50, 64), "F16", 3),
    "d.weight": normal((40, 40), "F64", 4),
    "counts": dense("I64", (20,)),
    "table": dense("U8", (40, 50)),
    "shared.weight": shared(900, list(range(0, 900, 5)), 6, shape=(30, 30)).dense(),
}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "m.safetensors"
    write_tensors(path, TENSORS, {"made by": "tests"})
    with open_checkpoint(path) as opened:
        yield opened


RECIPES = {
    "nothing": None,
    **{
        f"{name} {init}": Recipe(
            rules=(
                Rule(module="b", prune=Prune(criterion=name, **{criterion.amount: 0.7})),
                Rule(
                    module="*",
                    prune=Prune(criterion=name, **{criterion.amount: 0.3}),
                    share=Share(bits=3, init=init),
                ),
            )
        )
        for (name, criterion), init in zip(CRITERIA.items(), CODEBOOKS, strict=True)
    },
    "how": Recipe(rules=(Rule(module="a", share=Share(bits=4), encode=Encode(coder="huffman", gap_bits=4)),)),
}


def at_once(source, recipe, path, profile="fast"):
    """What streaming must give: everything in memory."""
    tensors, metadata = read_tensors(source.path)
    how = encodings(recipe, tensors) if recipe else None
    save_tensors(path, compress_tensors(tensors, recipe) if recipe else tensors, metadata, how, profile)
    return path.read_bytes()


@pytest.mark.parametrize("profile", ["fast", "small"])
@pytest.mark.parametrize("name", RECIPES)
def test_the_bytes_are_those_of_all_tensors_at_once_whatever_the_workers(name, profile, source, tmp_path):
    expected = at_once(source, RECIPES[name], tmp_path / "whole.dcz", profile)
    for workers in (1, 3):
        compress_checkpoint(source, tmp_path / "m.dcz", RECIPES[name], profile=profile, workers=workers)
        assert (tmp_path / "m.dcz").read_bytes() == expected


def test_what_cannot_be_pruned_or_shared_is_told_and_stored_as_it_is(tmp_path):
    bad = {"nan.weight": np.full((4, 5), np.nan, "<f4"), "huge.weight": np.full((4, 5), 1e300)}
    tensors = TENSORS | {name: DenseTensor.from_numpy(array) for name, array in bad.items()}
    write_tensors(tmp_path / "m.safetensors", tensors, {})
    for criterion in ("magnitude", "global-magnitude"):
        recipe = Recipe(rules=(Rule(module="*", prune=Prune(criterion=criterion, density=0.2), share=Share(bits=2)),))
        with open_checkpoint(tmp_path / "m.safetensors") as source:
            notes = compress_checkpoint(source, tmp_path / "m.dcz", recipe)
        assert sorted(notes) == [
            "huge.weight has 20 weights that are NaN, infinite or beyond float32: stored as it is",
            "nan.weight has 20 weights that are NaN, infinite or beyond float32: stored as it is",
            "table is of U8, only F64, F32, F16, BF16 can be pruned or shared: stored as it is",
        ]
        with DczFile(tmp_path / "m.dcz") as file:
            for name in ("nan.weight", "huge.weight", "table"):
                assert content(file.read(name)) == content(tensors[name])
            assert np.count_nonzero(file["a.weight"]) < 0.5 * TENSORS["a.weight"].elements.size


def test_a_checkpoint_without_tensors_is_said_to_be_one(tmp_path):
    write_tensors(tmp_path / "m.safetensors", {}, {})
    with open_checkpoint(tmp_path / "m.safetensors") as source:
        notes = compress_checkpoint(source, tmp_path / "m.dcz")
    assert notes == ["the checkpoint holds no tensors, and so does the file"]
    assert [str(table.caption) for table in Report.of(tmp_path / "m.dcz").tables()][-1] == "no tensors"


def test_tied_tensors_are_stored_once(tmp_path):
    torch = pytest.importorskip("torch")
    weight = torch.from_numpy(TENSORS["a.weight"].elements.copy())
    torch.save({"x.weight": weight, "y.bias": torch.ones(3), "z.weight": weight}, tmp_path / "m.pt")
    recipe = Recipe(rules=(Rule(module="z", share=Share(bits=2)),))
    with open_checkpoint(tmp_path / "m.pt") as source:
        compress_checkpoint(source, tmp_path / "m.dcz", recipe)
    with DczFile(tmp_path / "m.dcz") as file:
        assert {name: entry.tied_to for name, entry in file.entries.items()}["z.weight"] == "x.weight"
        assert len(file.read("x.weight").codebook) == 4


def test_what_another_tool_quantized_stays_exact(tmp_path):
    tensors = {
        "q.weight": dense("I8", (8, 8)),
        "q.weight_scale": normal((8, 2), seed=7),
        "p.weight": normal((8, 8), seed=8),
    }
    write_tensors(tmp_path / "m.safetensors", tensors, {})
    with recognise(open_checkpoint(tmp_path / "m.safetensors")) as source:
        assert "q.weight_scale" in source.exact
        compress_checkpoint(source, tmp_path / "m.dcz", Recipe(rules=(Rule(tensor="*", share=Share(bits=1)),)))
    with DczFile(tmp_path / "m.dcz") as file:
        assert content(file.read("q.weight_scale")) == content(tensors["q.weight_scale"])
        assert len(np.unique(file["p.weight"])) == 2


def test_progress_counts_bytes_up_to_all(source, tmp_path):
    told = []
    compress_checkpoint(source, tmp_path / "m.dcz", workers=3, progress=lambda *numbers: told.append(numbers))
    total = sum(entry.nbytes for entry in source.entries.values())
    assert told[0] == (0, total)
    assert told[-1] == (total, total)
    assert told == sorted(told)


# --- work that is broken off


class Breaking:
    """A checkpoint of which one tensor cannot be read, the first time."""

    def __init__(self, source, name, error):
        self._source, self._name, self._error, self.read_names = source, name, error, []
        self.path, self.metadata, self.entries, self.graph = source.path, source.metadata, source.entries, None
        self.exact, self.packed, self.folder = source.exact, source.packed, None

    def read(self, name):
        self.read_names.append(name)
        if name == self._name:
            raise self._error
        return self._source.read(name)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("workers", [1, 3])
def test_resuming_does_only_what_is_not_done_and_gives_the_same_bytes(error, workers, source, tmp_path):
    recipe = RECIPES["magnitude linear"]
    expected = at_once(source, recipe, tmp_path / "whole.dcz")
    path = tmp_path / "m.dcz"
    with pytest.raises(error) as caught:
        compress_checkpoint(Breaking(source, "table", error()), path, recipe, workers=workers)
    assert not path.exists()
    assert "continue with --resume" in caught.value.__notes__[0]
    lines = (tmp_path / "m.dcz.partial" / "journal").read_text().splitlines()[1:]
    done = {json.loads(line)["entry"]["name"] for line in lines}
    assert done
    again = Breaking(source, None, None)
    notes = compress_checkpoint(again, path, recipe, workers=workers, resume=True)
    assert set(again.read_names) == set(TENSORS) - done
    assert path.read_bytes() == expected
    assert [note.partition(" ")[0] for note in notes] == ["table"]


def test_warnings_name_the_layers_of_the_part_that_was_interrupted_too(source, tmp_path):
    recipe = Recipe(rules=(Rule(module="*", prune=Prune(density=0.02), share=Share(bits=2)),))
    expected = compress_checkpoint(source, tmp_path / "whole.dcz", recipe)
    assert "a.weight keeps" in "".join(expected.effect.warnings)
    with pytest.raises(KeyboardInterrupt):
        compress_checkpoint(Breaking(source, "table", KeyboardInterrupt()), tmp_path / "m.dcz", recipe, workers=1)
    resumed = compress_checkpoint(source, tmp_path / "m.dcz", recipe, resume=True)
    assert resumed.effect == expected.effect
    assert resumed == expected


def test_a_mistake_leaves_nothing(source, tmp_path):
    recipe = Recipe(rules=(Rule(module="a", encode=Encode(coder="huffman")),))
    with pytest.raises(ValueError, match=r"a\.weight: the coder huffman cannot hold"):
        compress_checkpoint(source, tmp_path / "m.dcz", recipe)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.safetensors"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: {"profile": "small"}, "another profile"),
        (lambda path: {"recipe": RECIPES["magnitude linear"]}, "another recipe"),
        (lambda path: path.touch() or {}, "another size or time of the checkpoint"),
    ],
)
def test_resuming_something_else_is_refused(change, words, source, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        compress_checkpoint(Breaking(source, "table", KeyboardInterrupt()), tmp_path / "m.dcz", workers=1)
    with pytest.raises(ValueError, match=words):
        compress_checkpoint(source, tmp_path / "m.dcz", resume=True, **change(source.path))


# --- memory


@pytest.mark.parametrize("bits", [4, 8])
def test_memory_stays_below_twice_the_largest_tensor_and_300_mb(bits):
    """Held below half of that, besides what modules take: 240 MB of tensors of up to 40 MB."""
    tensors = big_checkpoint.language_model(240 << 20, 2048, 10_240)
    found = big_checkpoint.big(tensors, 100 << 20, 0, 2, bits)
    assert found["largest_bytes"] == 40 << 20
    assert found["dense_bytes"] > 200 << 20
    assert found["peak_bytes"] < (2 * 40 + 220) << 20


DECOMPRESS = """
from deepcompression.cli import app
app(["decompress", "m.dcz", "-o", "back.safetensors", "--quiet"], standalone_mode=False)
print(peak_bytes())
"""


def test_memory_of_decompressing_stays_below_that_too(tmp_path):
    weight = normal((40, 1 << 18), "F32")
    save_tensors(tmp_path / "m.dcz", {f"{i}.weight": weight for i in range(4)})
    command = [sys.executable, "-c", big_checkpoint.PEAK + DECOMPRESS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout) < (2 * 40 + 220) << 20
    assert Path(tmp_path / "back.safetensors").stat().st_size > 160 << 20


def test_an_onnx_graph_travels(tmp_path):
    graph = b"a graph" * 9

    class WithGraph(Breaking):
        def __init__(self, source):
            super().__init__(source, None, None)
            self.graph = graph

    write_tensors(tmp_path / "m.safetensors", TENSORS, {})
    with open_checkpoint(tmp_path / "m.safetensors") as source:
        compress_checkpoint(WithGraph(source), tmp_path / "m.dcz")
    assert load_tensors(tmp_path / "m.dcz")["onnx.graph"].tobytes() == graph
    with DczFile(tmp_path / "m.dcz") as file:
        assert file.metadata["format"] == "onnx"
