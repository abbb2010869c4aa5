"""Checkpoints in several safetensors files with an index, and folders that hold checkpoints."""

import json

import pytest
from cases import content, dense

from deepcompression.checkpoint import open_checkpoint, read_tensors, write_tensors
from deepcompression.common.binary import FormatError

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
TENSORS = {
    FIRST: {"a": dense("F32", (3, 4)), "b": dense("BF16", (5,))},
    SECOND: {"c": dense("U8", (7,)), "d": dense("F16", (2,))},
}
WEIGHT_MAP = {name: shard for shard, tensors in TENSORS.items() for name in tensors}
INDEX = "model.safetensors.index.json"


def write_index(folder, weight_map, **more):
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 69}, "weight_map": weight_map} | more))


@pytest.fixture
def folder(tmp_path):
    for shard, tensors in TENSORS.items():
        write_tensors(tmp_path / shard, tensors, {"format": "pt", "shard": shard})
    write_index(tmp_path, WEIGHT_MAP)
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def refused(path, words, kind=FormatError):
    with pytest.raises(kind, match=words):
        open_checkpoint(path)


def opened(path):
    with open_checkpoint(path) as source:
        return source.path


@pytest.mark.parametrize("name", ["", INDEX])
def test_shards_are_read_as_one(folder, name):
    tensors, metadata = read_tensors(folder / name)
    assert {name: content(tensor) for name, tensor in tensors.items()} == {
        name: content(tensor) for shard in TENSORS.values() for name, tensor in shard.items()
    }
    assert list(tensors) == ["a", "b", "d", "c"]
    assert metadata == {"format": "pt", "shard": FIRST, f"{SECOND}: shard": SECOND}


def test_a_missing_shard_is_named(folder):
    (folder / SECOND).unlink()
    refused(folder, rf"{INDEX}: shards are missing in its folder: {SECOND}; fetch them again")


def test_every_shard_that_is_cut_off_is_named(folder):
    path = folder / SECOND
    path.write_bytes(path.read_bytes()[:-1])
    refused(folder, rf"{SECOND}: not a sound safetensors file: .*: it is cut off")


def test_a_shard_that_the_index_does_not_name_is_refused(folder):
    write_tensors(folder / "model-00003-of-00003.safetensors", {"e": dense("U8", (1,))}, {})
    refused(folder, r"does not name the shards model-00003-of-00003.safetensors beside it")


def test_files_of_another_name_beside_shards_are_left_alone(folder):
    write_tensors(folder / "adapter.safetensors", {"e": dense("U8", (1,))}, {})
    assert len(read_tensors(folder)[0]) == 4


def test_a_tensor_that_is_not_in_its_shard_is_refused(folder):
    write_index(folder, WEIGHT_MAP | {"e": FIRST})
    refused(folder, rf"{FIRST}: has no e, which the index says are in it")


def test_a_tensor_that_the_index_does_not_name_is_refused(folder):
    write_index(folder, {name: shard for name, shard in WEIGHT_MAP.items() if name != "b"})
    refused(folder, rf"{FIRST}: tensor 'b' is not where the index says$")


def test_a_tensor_in_two_shards_is_refused(folder):
    write_tensors(folder / SECOND, TENSORS[SECOND] | {"a": dense("F32", (3, 4))}, {})
    refused(folder, rf"{SECOND}: tensor 'a' is not where the index says; another is in .*{FIRST}")


def test_a_tensor_that_the_index_names_twice_is_refused(folder):
    (folder / INDEX).write_text(f'{{"weight_map": {{"a": "{FIRST}", "a": "{SECOND}"}}}}')
    refused(folder, "not a sound index of shards: a stands twice in it")


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x.safetensors", "", "a/../../x.safetensors", "a\0b"])
def test_an_index_names_files_of_its_folder_only(folder, name):
    write_index(folder, {"a": name})
    refused(folder, "which is not inside of its folder")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "\0", "{" * 10_000])
def test_an_index_that_is_none_is_refused(folder, text):
    (folder / INDEX).write_text(text)
    refused(folder, f"{INDEX}: not a sound index of shards: ")


def test_one_shard_may_be_read_alone(folder):
    assert list(read_tensors(folder / SECOND)[0]) == ["d", "c"]


def test_an_index_with_letters_of_a_pattern_in_its_name_is_taken_literally(folder):
    (folder / INDEX).rename(folder / "model[1].safetensors.index.json")
    (folder / "model1-1-of-1.safetensors").touch()
    assert len(read_tensors(folder / "model[1].safetensors.index.json")[0]) == 4


def test_the_one_file_of_a_folder_is_found(tmp_path):
    (tmp_path / "tokenizer.json").touch()
    (tmp_path / "onnx").mkdir()
    write_tensors(tmp_path / "weights.safetensors", TENSORS[FIRST], {})
    assert opened(tmp_path) == tmp_path / "weights.safetensors"
    write_tensors(tmp_path / "other.safetensors", TENSORS[FIRST], {})
    refused(tmp_path, "holds several checkpoints, other.safetensors, weights.safetensors: name one of them", ValueError)
    write_tensors(tmp_path / "model.safetensors", TENSORS[FIRST], {})
    assert opened(tmp_path) == tmp_path / "model.safetensors"


def test_an_index_and_a_single_file_in_one_folder_are_refused(folder):
    write_tensors(folder / "model.safetensors", TENSORS[FIRST], {})
    refused(folder, "holds several checkpoints, model.safetensors, model.safetensors.index.json", ValueError)


def test_a_folder_without_safetensors_is_refused_with_what_is_there(tmp_path):
    refused(tmp_path, "there is no checkpoint in it; expected model.safetensors", ValueError)
    (tmp_path / "pytorch_model.bin").touch()
    refused(tmp_path, "has no safetensors files, but pytorch_model.bin: name one of them", ValueError)
    (tmp_path / "pytorch_model.bin.index.json").touch()
    refused(tmp_path, r"but shards of torch.save \(pytorch_model.bin.index.json\), .*: save it anew", ValueError)
