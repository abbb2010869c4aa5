"""Grids in files, copies and checkpoints in mid-stage."""

import copy
import pickle

import numpy as np
import pytest
import torch
from grids import KINDS, check_on_grid, normal, recipe, trained
from models import assert_same, bits, dense, example, make, snapshot, train_step
from torch import nn

import deepcompression as dc
from deepcompression.recipe.targets import targets_of
from deepcompression.tensors.dtypes import widen
from deepcompression.tensors.from_torch import from_torch
from deepcompression.tensors.grid import LIMITS, digits_on_grid
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor
from deepcompression.training.attach import parametrization
from deepcompression.training.model_tensors import read_model
from deepcompression.training.parametrizations import Codebook


@pytest.mark.parametrize(("grid", "kind"), KINDS)
def test_a_file_has_the_grid_bit_for_bit_as_the_model_had_it(grid, kind, tmp_path):
    model = trained(kind, grid, density=0.6)
    dc.save(model, tmp_path / "m.dcz")
    assert_same(dense(dc.load(tmp_path / "m.dcz", into=make(kind, seed=1))), dense(model))
    arrays = dc.load_tensors(tmp_path / "m.dcz")
    with dc.DczFile(tmp_path / "m.dcz") as file:
        for target in targets_of(model):
            if not target.trained:
                continue
            check_on_grid(arrays[target.name], grid)
            tensor = file.read(target.name)
            if isinstance(tensor, CompressedTensor):
                check_on_grid(widen(tensor.codebook, tensor.dtype), grid)


@pytest.mark.parametrize("grid", LIMITS)
@pytest.mark.parametrize("seed", range(10))
def test_the_grid_that_was_asked_for_is_found_in_the_file(grid, seed, tmp_path):
    model = nn.Linear(40, 30)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(normal(1200, seed).reshape(30, 40)))
    dc.share(model, recipe(grid, 4, module="*"))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(5):
        train_step(model, optimizer, torch.from_numpy(normal(160, seed + 1).reshape(4, 40)))
    dc.save(model, tmp_path / "m.dcz")
    found = digits_on_grid(np.unique(dc.load_tensors(tmp_path / "m.dcz")["weight"]))
    assert found.grid == grid
    assert len(np.unique(found.digits)) == 16


@pytest.mark.parametrize(("grid", "kind"), KINDS)
def test_a_model_made_plain_and_a_copy_have_the_weights_that_were_seen(grid, kind):
    model = trained(kind, grid)
    seen, copied = dense(model), copy.deepcopy(model)
    assert_same(copied.state_dict(), model.state_dict())
    assert_same(dense(copied), seen)
    assert_same(dense(dc.finalize(model)), seen)
    optimizer = torch.optim.SGD(copied.parameters(), lr=0.01)
    train_step(copied, optimizer, example(kind))
    for target in targets_of(copied):
        if target.trained:
            check_on_grid(from_torch(target.name, getattr(*target.places[0])).numpy(), grid)


@pytest.mark.parametrize(("grid", "kind"), KINDS)
def test_a_checkpoint_is_shared_on_the_grid_as_a_model_is(grid, kind):
    model = make(kind)
    tensors = {name: tensor for name, tensor in read_model(model).items() if isinstance(tensor, DenseTensor)}
    found = dc.compress_tensors(tensors, recipe(grid, 3, module="*"))
    dc.share(model, recipe(grid, 3, module="*"))
    expected = read_model(model)
    for target in targets_of(model):
        if parametrization(target) is not None:
            for part in ("codebook", "codes", "positions"):
                assert getattr(found[target.name], part).tobytes() == getattr(expected[target.name], part).tobytes()
            check_on_grid(found[target.name].numpy(), grid)


def test_a_codebook_says_its_grid_and_goes_through_pickle():
    book = parametrization(targets_of(trained("mlp", "int16"))[0])
    assert "4 centroids, int16 grid" in repr(book)
    loaded = pickle.loads(pickle.dumps(book))
    assert loaded.grid == "int16"
    centroids = torch.tensor([0.1, 0.2, 0.3, 0.7])
    assert bits(loaded(centroids)) == bits(book(centroids))


def test_a_codebook_pickled_before_there_were_grids_has_none():
    book = Codebook((2,), torch.arange(2), torch.arange(2, dtype=torch.uint8), 2)
    del book.__dict__["grid"]
    assert pickle.loads(pickle.dumps(book))(torch.tensor([0.1, 0.7])).tolist() == torch.tensor([0.1, 0.7]).tolist()


@pytest.mark.parametrize(("grid", "kind"), KINDS)
def test_a_resumed_run_continues_bit_for_bit(grid, kind):
    model, x = trained(kind, grid), example(kind)
    resumed = make(kind, seed=1)
    dc.resume(resumed, snapshot(model))
    assert_same(resumed.state_dict(), model.state_dict())
    assert_same(dense(resumed), dense(model))
    first, second = (torch.optim.SGD(net.parameters(), lr=0.01) for net in (model, resumed))
    for _ in range(3):
        train_step(model, first, x)
        train_step(resumed, second, x)
    assert_same(resumed.state_dict(), model.state_dict())
    assert_same(dense(resumed), dense(model))


def test_a_checkpoint_without_a_grid_has_no_part_for_one():
    model = trained("mlp", None)
    parts = {name.partition("weight.")[2] for name in model.state_dict() if "weight" in name}
    assert parts == {"original", "0.positions", "0.codes", "0.size"}
    resumed = make("mlp", seed=1)
    dc.resume(resumed, model.state_dict())
    assert {parametrization(target).grid for target in targets_of(resumed)} == {None}
    assert torch.equal(resumed[0].weight.unique(), model[0].parametrizations.weight.original.sort().values)


def test_a_state_of_another_grid_is_not_loaded_unnoticed():
    model = trained("mlp", "int8")
    for grid in (None, "int16"):
        with pytest.raises(RuntimeError, match=r'Unexpected key.*weight\.0\.int8"'):
            trained("mlp", grid).load_state_dict(model.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"int16": torch.tensor(32639)}, r"its codebook is on one grid; found int8 and int16"),
        ({"int8": torch.tensor(128)}, r"0\.int8 is 128, \[\] of torch\.int64, expected 127, \[\] of torch\.int64"),
        ({"int8": torch.tensor([127])}, r"0\.int8 is \[127\], \[1\] of torch\.int64"),
        ({"int8": torch.tensor(127.0)}, r"0\.int8 is 127\.0, \[\] of torch\.float32"),
        ({"int4": torch.tensor(7)}, r"0\.int4 is not in the model"),
    ],
)
def test_a_state_whose_grid_is_no_grid_is_refused(change, message):
    state = snapshot(trained("mlp", "int8"))
    state |= {f"4.parametrizations.weight.0.{part}": tensor for part, tensor in change.items()}
    model = make("mlp", seed=1)
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        dc.resume(model, state)
    assert_same(snapshot(model), before)


def test_a_state_whose_dtype_cannot_hold_its_grid_is_refused():
    state = snapshot(trained("mlp", "int16"))
    state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    with pytest.raises(ValueError, match=r"0\.weight: F16 has 11 significant bits, too few"):
        dc.resume(make("f16"), state)
