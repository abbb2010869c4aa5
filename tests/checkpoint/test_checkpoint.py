import json
import stat
import weakref
from math import prod

import numpy as np
import pytest
from cases import content, dense
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from deepcompression.checkpoint import TensorEntry, open_checkpoint, read_tensors, write_checkpoint, write_tensors
from deepcompression.checkpoint.safetensors import DTYPES, PAIRS
from deepcompression.common.binary import FormatError
from deepcompression.tensors.dtypes import item_bits
from deepcompression.tensors.tensor import DenseTensor

EVERY = {
    f"{dtype} {shape}": dense(dtype, shape)
    for dtype in (*DTYPES, *PAIRS)
    for shape in [(), (0,), (2, 0), (5,), (2, 3), (4, 2)]
    if prod(shape) * item_bits(dtype) % 8 == 0
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def raw_file(path, header, data=b""):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_every_dtype_and_shape_comes_back_bit_for_bit(path):
    write_tensors(path, EVERY, {"größe": "5", "a": ""})
    tensors, metadata = read_tensors(path)
    assert metadata == {"größe": "5", "a": ""}
    assert {name: content(tensor) for name, tensor in tensors.items()} == {
        name: content(tensor) for name, tensor in EVERY.items()
    }


def test_safetensors_reads_what_is_written(path):
    arrays = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "ü": np.array(True), "b": np.zeros((0, 2), "<i8")}
    write_tensors(path, {name: DenseTensor.from_numpy(array) for name, array in arrays.items()}, {"k": "v"})
    found = load_file(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    with safe_open(path, "numpy") as file:
        assert file.metadata() == {"k": "v"}


def test_what_safetensors_writes_is_read(path):
    arrays = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.array([1, 2], "<i2"), "c": np.array(3.0)}
    save_file(arrays, path, {"k": "v"})
    tensors, metadata = read_tensors(path)
    assert metadata == {"k": "v"}
    for name, array in arrays.items():
        assert np.array_equal(tensors[name].numpy(), array)


def test_no_tensor_straddles_its_alignment(path):
    write_tensors(path, EVERY, {"k": "v"})
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    for name, tensor in EVERY.items():
        assert header[name]["data_offsets"][0] % tensor.elements.itemsize == 0


def test_elements_in_any_layout_are_written_in_order(path):
    tensor = DenseTensor("F32", np.arange(6, dtype="<f4").reshape(2, 3).T)
    write_tensors(path, {"a": tensor}, {})
    assert np.array_equal(load_file(path)["a"], [[0, 3], [1, 4], [2, 5]])


def test_the_same_tensors_give_the_same_bytes(path):
    files = []
    for metadata in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}):
        write_tensors(path, EVERY, metadata)
        files.append(path.read_bytes())
    assert files[0] == files[1]


def test_the_file_is_as_readable_as_any_other(path, tmp_path):
    write_tensors(path, {}, {})
    (tmp_path / "other").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_the_name_kept_for_metadata_is_refused(path):
    with pytest.raises(ValueError, match="cannot hold a tensor named __metadata__"):
        write_tensors(path, {"__metadata__": dense("U8", (1,))}, {})
    assert not path.exists()


def test_a_failure_leaves_the_old_file(path, monkeypatch):
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_tensors(path, EVERY, {})
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["model.h5", "model", "model.safetensors.gz"])
def test_another_kind_of_file_is_refused_with_a_remedy(tmp_path, name):
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"checkpoints are read from folders and from .safetensors, .*; convert"):
        read_tensors(tmp_path / name)


@pytest.mark.parametrize("name", ["gpt2", "org/model", "org/model-v1.5"])
def test_the_name_of_a_model_on_a_hub_is_downloaded_first(name):
    with pytest.raises(FileNotFoundError, match=f"; a model of Hugging Face is downloaded first: hf download {name} "):
        read_tensors(name)


@pytest.mark.parametrize("name", ["gone.safetensors", "a/b/gone", "/gone"])
def test_other_paths_where_nothing_is_are_just_missing(name):
    with pytest.raises(FileNotFoundError) as caught:
        read_tensors(name)
    assert (caught.value.strerror, str(caught.value.filename)) == ("No such file or directory", name)


TWO = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"abcd", "'w' has 4 bytes, expected 8"),
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"abcd", "its tensors end at .* it is cut off"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"abcde", "its tensors end at .*, the file at"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"abcdefgh", "'w' begins at 4, expected 0"),
        ({"v": TWO, "w": TWO}, b"ab", "'w' begins at 0, expected 2: it overlaps"),
        ({"v": TWO, "w": TWO | {"data_offsets": [1, 3]}}, b"abc", "'w' begins at 1, expected 2: it overlaps"),
        ({"v": TWO, "w": TWO | {"data_offsets": [3, 5]}}, b"abcde", "'w' begins at 3, expected 2: it leaves a gap"),
        ({"w": TWO | {"data_offsets": [2, 0]}}, b"ab", "'w' has -2 bytes, expected 2"),
        ({"w": TWO | {"data_offsets": [-2, 0]}}, b"ab", "integers >= 0"),
        ({"w": TWO | {"data_offsets": [0.0, 2.0]}}, b"ab", "integers >= 0"),
        ({"w": TWO | {"data_offsets": [0, 2, 4]}}, b"ab", "integers >= 0"),
        ({"w": TWO | {"shape": [True, 2]}}, b"ab", "integers >= 0"),
        ({"w": TWO | {"shape": 2}}, b"ab", "integers >= 0"),
        ({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"abcd", "integers >= 0"),
        ({"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, b"abcd", "too large"),
        ({"w": {"dtype": "F32", "shape": [0, 2**70], "data_offsets": [0, 0]}}, b"", "too large"),
        ({"w": TWO | {"shape": [1] * 33}}, b"ab", "too large"),
        ({"w": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, b"ab", "'w' .* does not fill whole bytes"),
        ({"w": {"dtype": "F4", "shape": [2], "data_offsets": [0, 2]}}, b"ab", "'w' has 2 bytes, expected 1"),
        ({"w": TWO | {"dtype": ["U8"]}}, b"ab", "'w' is of dtype"),
        ({"w": {"dtype": "U8", "shape": [2]}}, b"ab", "'w' does not have dtype, shape and data_offsets"),
        ({"__metadata__": {"a": 1}}, b"", "no mapping from texts to texts"),
        ({"w": 3}, b"", "'w' does not have dtype, shape and data_offsets"),
        ([], b"", "no JSON object, but a list"),
    ],
)
def test_a_header_that_does_not_fit_the_bytes_is_refused(path, header, data, words):
    raw_file(path, header, data)
    with pytest.raises(FormatError, match=f"{path}: not a sound safetensors file: .*{words}"):
        open_checkpoint(path)
    with pytest.raises(SafetensorError), safe_open(path, "numpy"):
        pass


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"w":1,"w":2}', "w stands twice"),
        (b'{"w":', "no JSON"),
        (b"\xff", "no JSON"),
        (b'{"\\ud800":3}', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"", "no JSON"),
    ],
)
def test_a_header_that_is_no_json_is_refused(path, text, words):
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(FormatError, match=f"{path}: not a sound safetensors file: .*{words}"):
        open_checkpoint(path)


def test_a_header_may_not_claim_more_than_the_library_allows(path):
    with path.open("wb") as file:
        file.write((200_000_000).to_bytes(8, "little"))
        file.truncate(300_000_000)
    with pytest.raises(FormatError, match="takes 200000000 bytes, at most 100000000 are allowed"):
        open_checkpoint(path)


def test_headers_with_any_byte_changed_are_refused_where_the_library_refuses_them(path):
    """Ours may refuse more (a name twice), and never gives other tensors."""
    write_tensors(path, {"a": dense("F32", (3,)), "b": dense("U8", (2,))}, {"k": "v"})
    whole = path.read_bytes()
    for at in range(len(whole) - 14):
        for flip in (1, 2, 16):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            try:
                with open_checkpoint(path) as source:
                    found = {name: content(source.read(name)) for name in source.entries}
            except ValueError:
                continue
            with safe_open(path, "numpy") as file:
                names = file.keys()
                wanted = {name: file.get_tensor(name).tobytes() for name in names}
            assert {name: tensor[-1] for name, tensor in found.items()} == wanted


def test_every_truncation_is_refused(path):
    write_tensors(path, {"a": dense("F32", (3,)), "b": dense("U8", (2,))}, {"k": "v"})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match="not a sound safetensors file"):
            read_tensors(path)


def test_a_missing_file_or_a_folder_is_named(tmp_path):
    for suffix in (".safetensors", ".safetensors.index.json", ".pt", ".onnx", ".h5", ""):
        with pytest.raises(FileNotFoundError) as caught:
            open_checkpoint(tmp_path / f"no{suffix}")
        assert caught.value.filename == str(tmp_path / f"no{suffix}")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(IsADirectoryError):
        open_checkpoint(tmp_path / "folder.safetensors")


def test_entries_are_in_the_order_of_their_bytes_and_say_their_size(path):
    write_tensors(path, {"b": dense("U8", (3,)), "c": dense("F32", (2, 2)), "a": dense("F32", ())}, {})
    with open_checkpoint(path) as source:
        assert source.path == path
        assert list(source.entries.values()) == [
            TensorEntry("c", "F32", (2, 2)),
            TensorEntry("a", "F32", ()),
            TensorEntry("b", "U8", (3,)),
        ]
        assert [entry.nbytes for entry in source.entries.values()] == [16, 4, 3]
        assert source.graph is None
        with pytest.raises(KeyError):
            source.read("d")


def test_writing_holds_one_tensor_at_a_time(path):
    alive = weakref.WeakSet()

    def read(name):
        tensor = dense("F32", (100,), int(name))
        assert not alive
        alive.add(tensor)
        return tensor

    write_checkpoint(path, {name: TensorEntry(name, "F32", (100,)) for name in "123"}, read, {})
    assert content(read_tensors(path)[0]["2"]) == content(dense("F32", (100,), 2))


def test_ties_are_written_in_full(path):
    tensor = dense("F32", (4,))
    entries = {"a": TensorEntry("a", "F32", (4,)), "b": TensorEntry("b", "F32", (4,), "a")}
    write_checkpoint(path, entries, {"a": tensor}.__getitem__, {})
    assert content(read_tensors(path)[0]["b"]) == content(tensor)


def test_a_tensor_that_is_not_as_its_entry_says_is_refused(path):
    with pytest.raises(ValueError, match=r"a is \[4\] of F32, its entry says \[5\] of F32"):
        write_checkpoint(path, {"a": TensorEntry("a", "F32", (5,))}, lambda _: dense("F32", (4,)), {})
    assert not path.exists()


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"out.pt: checkpoints are written as .safetensors or .onnx files"):
        write_tensors(tmp_path / "out.pt", {}, {})
    with pytest.raises(ValueError, match=r"these tensors have no graph, they are of no ONNX model"):
        write_tensors(tmp_path / "out.onnx", {}, {})
    with pytest.raises(ValueError, match=r"cannot hold the graph of an ONNX model; write an .onnx file"):
        write_checkpoint(tmp_path / "out.safetensors", {}, EVERY.__getitem__, {}, b"graph")
