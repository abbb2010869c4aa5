"""Files of torch.save: tensors by name, ties found, nothing executed, and nothing but tensors taken."""

import argparse
import io
import os
import sys
import warnings
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from cases import content
from torch import nn

from deepcompression.checkpoint import TensorEntry, open_checkpoint, read_tensors, torch_save
from deepcompression.common.binary import FormatError
from deepcompression.tensors.from_torch import DTYPE_NAMES, from_torch

ZIP = pytest.mark.parametrize("zipped", [True, False])


@pytest.fixture(params=[".pt", ".pth", ".bin", ".ckpt"])
def any_path(request, tmp_path):
    return tmp_path / f"model{request.param}"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


def save(value, path, zipped=True):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, path, _use_new_zipfile_serialization=zipped)


def contents(path):
    return {name: content(tensor) for name, tensor in read_tensors(path)[0].items()}


def notes(path):
    with open_checkpoint(path) as source:
        return source.notes


def refused(path, words, kind=ValueError):
    with pytest.raises(kind, match=words) as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value)


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30), nn.Linear(30, 5))


@ZIP
def test_a_state_dict_is_read_bit_for_bit(any_path, zipped):
    state = model().state_dict()
    save(state, any_path, zipped)
    assert contents(any_path) == {name: content(from_torch(name, tensor)) for name, tensor in state.items()}
    with open_checkpoint(any_path) as source:
        assert source.entries["1.num_batches_tracked"] == TensorEntry("1.num_batches_tracked", "I64", ())


@pytest.mark.filterwarnings("ignore:ComplexHalf support")
@ZIP
def test_every_dtype_is_read_bit_for_bit(path, zipped):
    bits = torch.from_numpy(np.random.default_rng(0).integers(0, 256, 16 * 5, np.uint8))
    # torch cannot read these from the old format
    old = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "C64", "C128")
    dtypes = [dtype for dtype, name in DTYPE_NAMES.items() if name != "BOOL" and (zipped or name in old)]
    state = {str(dtype): bits.view(dtype).clone() for dtype in dtypes}
    state |= {"bool": bits > 99, "empty": torch.zeros(3, 0), "scalar": torch.tensor(2.5)}
    save(state, path, zipped)
    assert contents(path) == {name: content(from_torch(name, tensor)) for name, tensor in state.items()}


@ZIP
def test_tensors_in_the_same_memory_are_ties(path, zipped):
    weight = torch.randn(4, 4)
    state = {"a": weight, "b": nn.Parameter(weight), "c": weight.T, "d": weight[1:], "e": weight.clone()}
    state |= {"none": torch.zeros(0), "nothing": torch.zeros(0)}
    save(state, path, zipped)
    with open_checkpoint(path) as source:
        assert {name: entry.tied_to for name, entry in source.entries.items() if entry.tied_to} == {"b": "a"}
        assert content(source.read("b")) == content(source.read("a"))


def test_views_give_their_own_elements(path):
    base = torch.randn(6, 8)
    state = {"t": base.T, "part": base[1:3, ::2], "wide": base[:1].expand(5, 8), "conj": torch.randn(3).cfloat().conj()}
    save(state, path)
    assert contents(path) == {
        name: content(from_torch(name, tensor.resolve_conj().contiguous())) for name, tensor in state.items()
    }


@pytest.mark.parametrize("wrappers", [["state_dict"], ["model"], ["model", "state_dict"], ["module"]])
def test_a_wrapped_state_dict_is_found_and_what_is_left_out_is_said(path, wrappers):
    state = {"a": torch.ones(2), "b": torch.zeros(2)}
    value = OrderedDict(state)
    for name in reversed(wrappers):
        value = {"epoch": 3, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}, name: value, "lr": torch.ones(1)}
    save(value, path)
    assert list(contents(path)) == ["a", "b"]
    expected = "Only the tensors under {!r} are read; beside it stand epoch, lr, optimizer."
    assert notes(path) == tuple(map(expected.format, wrappers))


def test_what_is_no_tensor_is_left_out_and_said(path):
    save({"a": torch.ones(2), "_extra_state": None, "version": 3}, path)
    assert list(contents(path)) == ["a"]
    assert notes(path) == ("Values that are no tensors are left out: _extra_state, version.",)


def test_a_module_named_as_a_wrapper_is_no_wrapper(path):
    save({"model": torch.ones(2), "state_dict": torch.ones(3)}, path)
    assert list(contents(path)) == ["model", "state_dict"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"model": {"a": torch.ones(1)}, "state_dict": {"a": torch.ones(1)}}, "weights under model, state_dict: save"),
        ({"G": {"a": torch.ones(1)}, "D": {"a": torch.ones(1)}}, "mappings with tensors, D, G: save the one you mean"),
        ({"model": {"a": {"w": torch.ones(1)}}}, "mappings with tensors under model, a: save the one"),
        ([torch.ones(1)], "holds a list, expected a mapping from names to tensors"),
        (torch.ones(1), "holds a Tensor, expected a mapping"),
        ({"epoch": 3}, "there are no tensors in it, but epoch"),
        ({0: torch.ones(1)}, "tensors are named by texts; found 0"),
        ({"a": torch.ones(2, 2).to_sparse()}, "a is a torch.sparse_coo tensor, which cannot be stored; make it dense"),
        ({"a": torch.ones(2, device="meta")}, "a is a tensor without memory"),
        ({"a": torch.zeros(3), "fc.packed": (torch.zeros(3), None)}, r"lists or tuples, fc\.packed .* no names"),
        ({"a": torch.zeros(3), "b": [{"c": [torch.zeros(3)]}]}, "holds tensors inside of lists or tuples, b "),
    ],
)
def test_what_is_no_state_dict_is_refused_with_the_reason(path, value, words):
    save(value, path)
    refused(path, words)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_is_refused_with_the_remedy(path):
    save({"a": torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])}, path)
    refused(path, r"a is a nested tensor, which cannot be stored: save each of its parts \(unbind\(\)\)")


@ZIP
def test_a_whole_module_is_refused(path, zipped):
    save(model(), path, zipped)
    refused(
        path, r"holds a whole module that only code can make, .*: .*torch.nn.modules.*; where you trust it, load it"
    )


@ZIP
def test_objects_beside_the_weights_are_refused_by_name(path, zipped):
    save({"args": argparse.Namespace(lr=1), "model": {"a": torch.ones(1)}}, path, zipped)
    refused(
        path, r"holds objects that only code can make, and none is executed: argparse.Namespace; where you trust it"
    )


class Attack:
    def __reduce__(self):
        return os.mkdir, (str(Attack.folder),)


@ZIP
def test_nothing_in_a_file_is_executed(path, zipped):
    Attack.folder = path.parent / "attacked"
    save({"a": torch.ones(1), "b": Attack()}, path, zipped)
    refused(path, "none is executed: posix.mkdir")
    assert not Attack.folder.exists()


def test_torchscript_is_refused_by_name(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Linear(2, 2)).save(path)
    refused(path, r"is a TorchScript archive, code and all, which is not opened; .* model is torch.jit.load\(...\)")


@ZIP
def test_a_file_that_is_cut_off_is_refused(path, zipped):
    save({"a": torch.ones(100), "b": torch.ones(3)}, path, zipped)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 61):
        path.write_bytes(whole[:length])
        # half of a name in it is another name
        refused(path, "not a sound file of torch.save: |none is executed: torch", FormatError if zipped else ValueError)


def test_another_kind_of_file_is_refused(path):
    path.write_bytes(b"hello")
    refused(path, "not a sound file of torch.save: .*; it is cut off, damaged, or of another kind", FormatError)


def test_another_zip_archive_is_refused_with_the_remedy(path):
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3))
    refused(path, r"is a zip archive, as NumPy's \.npz files are, but none of torch\.save: unpack it, or convert it")


def test_an_expanded_tensor_may_not_claim_all_memory(path):
    save({"a": torch.zeros(1).expand(1 << 40)}, path)
    refused(path, "its tensors claim 4398046511104 bytes, more than the file has", FormatError)


def test_without_torch_it_is_said_that_torch_is_missing(path, monkeypatch):
    save({"a": torch.ones(1)}, path)
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(path, "such files are read through torch, which is not installed: pip install torch")


def test_the_old_format_is_said(path):
    save({"a": torch.ones(1)}, path, zipped=False)
    assert notes(path) == ("It is in the format of torch before 1.6, which is held in memory as a whole.",)


def test_the_file_is_mapped_anew_after_some_bytes_and_only_a_part_at_a_time(path, monkeypatch):
    state = {str(number): torch.randn(1000) for number in range(20)}
    save(state, path)
    opened = []
    load = torch.load
    monkeypatch.setattr(
        torch, "load", lambda *args, **options: opened.append(options["mmap"]) or load(*args, **options)
    )
    monkeypatch.setattr(torch_save, "_BLOCK_BYTES", 160)
    with open_checkpoint(path) as source:
        for name, tensor in state.items():
            assert content(source.read(name)) == content(from_torch(name, tensor))
    # three tensors of 4,000 bytes each time
    assert opened == [True] * (1 + 19 // 3)
    with open_checkpoint(path) as source, ThreadPoolExecutor(4) as pool:
        for name, found in zip(state, pool.map(source.read, state), strict=True):
            assert content(found) == content(from_torch(name, state[name]))


def loads(path, monkeypatch, order=None):
    """How often a file is unpickled to read its tensors, in an order of their names."""
    opened = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **options: opened.append(1) or load(*args, **options))
    monkeypatch.setattr(torch_save, "_BLOCK_BYTES", 256)
    with open_checkpoint(path) as source:
        for name in order or source.entries:
            source.read(name)
    return len(opened)


@pytest.mark.parametrize("layout", ["in order", "in any order", "columns", "overlapping", "expanded"])
def test_views_of_one_storage_cost_no_more_than_tensors_of_their_own(layout, path, monkeypatch):
    flat = torch.randn(40_000)
    views = {str(number): flat[100 * number : 100 * number + 100] for number in range(400)}
    order = None
    if layout == "in any order":
        order = [str(number * 171 % 400) for number in range(400)]
    if layout == "columns":
        views = {str(number): flat.view(200, 200)[:, number] for number in range(200)}
    if layout == "overlapping":
        views = {str(number): flat[number : number + 100] for number in range(400)}
    if layout == "expanded":
        views = {str(number): flat[number].expand(100) for number in range(400)}
    save(views, path)
    # 160,000 bytes are mapped anew after each 16,384, or a few more where each block is read again
    assert loads(path, monkeypatch, order) <= 82


def test_a_view_of_a_large_storage_is_read_from_its_own_bytes(path, monkeypatch):
    flat = torch.randn(40_000)
    save({str(number): flat[100 * number : 100 * number + 100] for number in range(100)}, path)
    assert loads(path, monkeypatch) == 1 + 40_000 // 16_500


def test_a_file_that_changed_while_it_was_open_is_refused(path, monkeypatch):
    save({"a": torch.ones(3)}, path)
    monkeypatch.setattr(torch_save, "_RENEW_BLOCKS", 0)
    with open_checkpoint(path) as source:
        source.read("a")
        save({"a": torch.ones(4)}, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)
        with pytest.raises(FormatError, match="a is not what it was: the file changed while it was open"):
            source.read("a")


def test_what_is_read_has_memory_of_its_own(path):
    save({"a": torch.ones(3)}, path)
    with open_checkpoint(path) as source:
        source.read("a").elements.fill(7)
        assert source.read("a").elements.tolist() == [1, 1, 1]
    assert torch.load(io.BytesIO(path.read_bytes()))["a"].tolist() == [1, 1, 1]
