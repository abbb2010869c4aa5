import errno
import os
from pathlib import Path

import numpy as np
import pytest
import second_reader
from cases import CASES, content, dense, lenet5, shared
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompression.coding.encode_part import Encode
from deepcompression.common.binary import FormatError
from deepcompression.file.reader import DczFile, load_tensors
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.dtypes import STORAGE
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import DenseTensor


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.dcz"


def only(folder):
    return sorted(p.name for p in folder.iterdir())


def test_every_tensor_comes_back_in_one_file_by_both_readers(path):
    save_tensors(path, CASES, {"made by": "tests"})
    metadata, second = second_reader.read(path.read_bytes())
    with DczFile(path) as file:
        assert list(file) == list(CASES) == list(second)
        assert file.metadata == metadata == {"made by": "tests"}
        for name, tensor in CASES.items():
            assert content(file.read(name)) == content(tensor) == tuple(second[name])


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    names=st.lists(st.text(max_size=8), unique=True, max_size=6),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    data=st.data(),
)
def test_any_names_and_metadata_come_back(tmp_path_factory, names, metadata, data):
    path = tmp_path_factory.mktemp("any") / "a.dcz"
    tensors = {}
    for name in names:
        own = [key for key, value in tensors.items() if not isinstance(value, Tie)]
        chosen = data.draw(st.sampled_from([*sorted(CASES)[:40], *map(Tie, own)]))
        tensors[name] = chosen if isinstance(chosen, Tie) else CASES[chosen]
    save_tensors(path, tensors, metadata)
    found, second = second_reader.read(path.read_bytes())
    arrays = load_tensors(path)
    assert found == metadata
    assert list(arrays) == names == list(second)
    for name, tensor in tensors.items():
        root = tensors[tensor.to] if isinstance(tensor, Tie) else tensor
        assert np.array_equal(arrays[name], root.numpy(), equal_nan=root.dtype[0] in "FBC" and root.dtype != "BOOL")
        assert content(root) == tuple(second[name])


def test_the_same_tensors_give_the_same_bytes(tmp_path):
    for name in ("a.dcz", "b.dcz"):
        save_tensors(tmp_path / name, CASES, {"z": "1", "a": "2"})
    assert (tmp_path / "a.dcz").read_bytes() == (tmp_path / "b.dcz").read_bytes()


def test_a_file_without_tensors_is_a_file(path):
    save_tensors(path, {})
    assert load_tensors(path) == {}
    assert path.stat().st_size == 4 + 1 + 1 + 2 + 4


def test_header_index_and_checksums_of_lenet_5_take_less_than_256_bytes(path):
    save_tensors(path, lenet5())
    with DczFile(path) as file:
        assert file.head_bytes < 256
        assert file.head_bytes + sum(entry.length for entry in file.entries.values()) == file.size_bytes


def test_arrays_have_the_values_of_their_dtype(path):
    tensors = {dtype: dense(dtype, (3, 5)) for dtype in STORAGE}
    save_tensors(path, tensors)
    arrays = load_tensors(path)
    assert arrays["BF16"].dtype == np.float32
    assert arrays["BOOL"].dtype == bool
    for dtype, array in arrays.items():
        assert array.shape == (3, 5)
        assert array.tobytes() == tensors[dtype].numpy().tobytes()


def test_arrays_are_the_caller_s_own_to_write_to(path):
    names = ["F32 [7]", "U8 [7]", "F32 some", "F32 256 centroids", "F8_E4M3 [7]"]
    save_tensors(path, {name: CASES[name] for name in names})
    for array in load_tensors(path).values():
        array[...] = 1
    assert load_tensors(path)["F32 [7]"].tobytes() == CASES["F32 [7]"].numpy().tobytes()


# --- names and ties


def test_tied_names_share_one_array_and_cost_no_payload(path):
    tensor = dense("F32", (50,))
    save_tensors(path, {"a": tensor, "b": Tie("a"), "c": Tie("a")})
    arrays = load_tensors(path)
    assert arrays["a"] is arrays["b"] is arrays["c"]
    with DczFile(path) as file:
        assert file.entries["c"].tied_to == "a"
        assert file.head_bytes + 200 == file.size_bytes


@pytest.mark.parametrize(
    "tensors",
    [
        {"b": Tie("a"), "a": CASES["F32 [7]"]},
        {"a": CASES["F32 [7]"], "b": Tie("a"), "c": Tie("b")},
        {"a": Tie("a")},
        {"a": Tie("nothing")},
    ],
)
def test_a_tie_to_a_later_tensor_or_to_a_tie_is_refused(path, tensors):
    with pytest.raises(ValueError, match=r"is tied to .*, which is not an earlier tensor of its own"):
        save_tensors(path, tensors)
    assert only(path.parent) == []


# --- how tensors are encoded


def test_coder_and_gap_width_can_be_fixed_by_name(path):
    tensor = shared(400, list(range(0, 400, 9)))
    save_tensors(
        path,
        {"a": tensor, "b": tensor, "c": tensor},
        how={"a": Encode(coder="sparse"), "b": Encode(coder="huffman", gap_bits=7)},
    )
    with DczFile(path) as file:
        assert [entry.coder for entry in file.entries.values()] == ["sparse", "huffman", "huffman"]
        assert file.read_with_account("b")[1].gap_bits == 7
        assert {content(file.read(name)) for name in file} == {content(tensor)}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"a": Encode(coder="huffman")}, r"a: the coder huffman cannot hold a I32 tensor of shape \[4\]"),
        ({"x": Encode(coder="raw"), "a": Encode(coder="raw")}, "no tensor is named x, whose encoding is given"),
    ],
)
def test_an_encoding_that_cannot_be_is_refused_and_nothing_written(path, how, message):
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=message):
        save_tensors(path, {"first": CASES["F32 [7]"], "a": dense("I32", (4,))}, how=how)
    assert only(path.parent) == ["model.dcz"]
    assert path.read_bytes() == b"old"


def test_an_object_that_is_no_tensor_is_refused_with_a_remedy(path):
    with pytest.raises(TypeError, match=r"a is of type ndarray; make it a tensor by DenseTensor.from_numpy"):
        save_tensors(path, {"a": np.zeros(3)})
    assert only(path.parent) == []


def test_too_many_dimensions_are_refused_by_name(path):
    with pytest.raises(ValueError, match="deep: it has 33 dimensions; at most 32 can be stored"):
        save_tensors(path, {"deep": DenseTensor("U8", np.zeros((1,) * 33, np.uint8))})


# --- saved whole or not at all


class FullDisk:
    """A file that takes some bytes, then has no space left."""

    def __init__(self, file, space):
        self.file, self.space = file, space

    def write(self, data):
        self.file.write(data[: self.space])
        if len(data) > self.space:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.space -= len(data)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


@pytest.mark.parametrize("space", [0, 10, 60, 300])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_full_disk_leaves_the_old_file_or_none(path, monkeypatch, space, old):
    if old:
        path.write_bytes(old)
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode="r": FullDisk(real(self, mode), space))
    with pytest.raises(OSError, match="No space left"):
        save_tensors(path, {"a": dense("F32", (200,))})
    monkeypatch.undo()
    assert only(path.parent) == (["model.dcz"] if old else [])
    assert old is None or path.read_bytes() == old


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize("failure", [OSError(errno.EIO, "broken"), KeyboardInterrupt("broken"), MemoryError("broken")])
def test_a_failure_at_the_very_end_leaves_the_old_file(path, monkeypatch, call, failure):
    path.write_bytes(b"old")

    def fail(*_):
        raise failure

    monkeypatch.setattr(call, fail)
    with pytest.raises(type(failure), match="broken"):
        save_tensors(path, {"a": dense("F32", (20,))})
    assert only(path.parent) == ["model.dcz"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("tensors", [{"\ud800": CASES["F32 [7]"]}, {"a": CASES["F32 [7]"], "b": Tie("c")}])
def test_a_failure_while_encoding_leaves_the_old_file(path, tensors):
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=r"surrogates|tied"):
        save_tensors(path, tensors)
    assert only(path.parent) == ["model.dcz"]
    assert path.read_bytes() == b"old"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        save_tensors(tmp_path / "no" / "a.dcz", {})
    assert caught.value.filename == str(tmp_path / "no")


def test_saving_over_a_file_replaces_it(path):
    save_tensors(path, {"a": dense("F32", (20,))})
    save_tensors(path, {"b": dense("F32", (2,))})
    assert list(load_tensors(path)) == ["b"]
    assert only(path.parent) == ["model.dcz"]


def test_a_link_is_followed(path):
    link = path.with_name("link.dcz")
    link.symlink_to(path)
    save_tensors(link, {})
    assert link.is_symlink()
    assert load_tensors(path) == {}


@pytest.mark.parametrize("name", ["m.pt", "m.PT", "m.pth", "model.safetensors", "m.onnx", "pytorch_model.bin", "m.npz"])
def test_a_name_of_another_format_is_refused_and_the_file_stays(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match=rf"{name} has the name of a \.\w+ file, and a .dcz file is written: name it"):
        save_tensors(path, {"a": dense("F32", (2,))})
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize("name", ["m.dcz", "m", "m.v2", "m.pt.dcz"])
def test_other_names_are_taken(name, tmp_path):
    save_tensors(tmp_path / name, {"a": dense("F32", (2,))})
    with DczFile(tmp_path / name) as file:
        assert list(file) == ["a"]


def test_a_file_of_another_format_is_told_apart_by_its_name(tmp_path):
    (tmp_path / "m.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(FormatError, match=r"not a .dcz file: .*; its name is that of a .pt file: dcz compress makes"):
        DczFile(tmp_path / "m.pt")
