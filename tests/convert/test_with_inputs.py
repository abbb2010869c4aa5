"""Checkpoints compressed as a whole: read once, encoded once for their file, by inputs or without."""

import numpy as np
import pytest

from deepcompression.calibration.goal import Goal
from deepcompression.checkpoint import write_tensors
from deepcompression.convert import with_inputs
from deepcompression.convert.with_inputs import compress_whole, open_whole, read_inputs
from deepcompression.file import writer
from deepcompression.file.reader import DczFile
from deepcompression.recipe.recipe import Recipe
from deepcompression.tensors.tensor import DenseTensor


@pytest.fixture
def checkpoint(tmp_path):
    rng = np.random.Generator(np.random.PCG64(0))
    arrays = {
        "a.weight": rng.standard_normal((60, 70)),
        "b.weight": rng.standard_normal((40, 50)),
        "b.bias": np.ones(40),
    }
    tensors = {name: DenseTensor.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
    write_tensors(tmp_path / "m.safetensors", tensors, {"made by": "tests"})
    return tmp_path / "m.safetensors"


@pytest.mark.parametrize("goal", [Goal(None, 6, None), Goal(24_000, None, None), Goal(None, None, 0.1)])
def test_the_file_of_a_plan_is_written_from_what_was_measured(goal, checkpoint, tmp_path, monkeypatch):
    """The size is met where weights are left as they are, too."""
    whole = open_whole(checkpoint, None, None)
    plan = whole.plan(goal, "fast")
    monkeypatch.setattr(writer, "encoded", None)
    whole.carry_out(plan, tmp_path / "m.dcz")
    assert (tmp_path / "m.dcz").stat().st_size == plan.file_bytes
    with DczFile(tmp_path / "m.dcz") as file:
        assert file.metadata == {"made by": "tests"}
        assert list(file.entries) == ["a.weight", "b.weight", "b.bias"]
        for name in file.entries:
            expected = plan.tensors.get(name, whole.own[name])
            assert file[name].tobytes() == expected.numpy().tobytes()


def test_an_onnx_model_is_read_once(tmp_path, monkeypatch):
    from tests.calibration.test_onnx_network import deep

    model, _, x = deep()
    (tmp_path / "m.onnx").write_bytes(model)
    np.savez(tmp_path / "x.npz", x=x)
    opened = []
    read = with_inputs.open_checkpoint
    monkeypatch.setattr(with_inputs, "open_checkpoint", lambda path: opened.append(path) or read(path))
    compress_whole(tmp_path / "m.onnx", tmp_path / "m.dcz", Goal(3000, None, None), "fast", tmp_path / "x.npz")
    assert opened == [tmp_path / "m.onnx"]
    assert 0.98 * 3000 <= (tmp_path / "m.dcz").stat().st_size <= 3000


@pytest.mark.parametrize("kind", ["npz", "safetensors", "npy"])
def test_inputs_are_read_from_files_of_every_kind(kind, tmp_path):
    x, path = np.arange(6, dtype=np.float32).reshape(2, 3), tmp_path / "inputs"
    if kind == "npz":
        np.savez(path.with_suffix(".npz"), x=x)
    elif kind == "safetensors":
        write_tensors(path.with_suffix(".safetensors"), {"x": DenseTensor.from_numpy(x)}, {})
    else:
        np.save(path.with_suffix(".npy"), x)
    found = read_inputs(path.with_suffix(f".{kind}"))
    assert list(found) == ["arr_0" if kind == "npy" else "x"]
    assert np.array_equal(next(iter(found.values())), x)


def test_encrypted_inputs_are_refused_in_one_line(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.ones(3, np.float32))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    # the flag of encryption, in the member's header and in the archive's index
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"calibration inputs are arrays by name .*encrypted"):
        read_inputs(tmp_path / "x.npz")


def test_weights_without_inputs_have_their_part_in_the_change_of_the_outputs(tmp_path):
    """Einsum's is compressed without the inputs: it alone changes the outputs, and the warning names it."""
    from onnx import helper
    from onnx_models import raw, value, weights

    nodes = [
        helper.make_node("Einsum", ["x", "far"], ["h"], equation="ni,ij->nj"),
        helper.make_node("MatMul", ["h", "near"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["y"]),
    ]
    near = np.where(weights((64, 48), 1) > 1, np.float32(1), np.float32(0))
    tensors = [raw("far", weights((64, 64))), raw("near", near), raw("b", weights((1, 48)))]
    graph = helper.make_graph(nodes, "g", [value("x", ("n", 64))], [value("y", None)], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    np.savez(tmp_path / "x.npz", x=weights((40, 64)))
    rules = [{"module": "*", "prune": {"criterion": "magnitude", "density": 0.5}}]
    wanted = Recipe.model_validate({"version": 1, "rules": rules})
    outcome = compress_whole(tmp_path / "m.onnx", tmp_path / "m.dcz", wanted, "fast", tmp_path / "x.npz")
    assert "b scales or shifts other values, element by element: stored as it is" in outcome
    assert "most by far (100 % of the change)" in " ".join(outcome.effect.warnings)
