"""A Hugging Face folder, compressed and given back: every file, byte for byte."""

import json
from pathlib import Path

import numpy as np
import pytest
from cases import dense
from commands import run
from models import make
from safetensors.numpy import save_file
from typer.testing import CliRunner

import deepcompression as dc
from deepcompression.checkpoint import read_tensors, write_tensors
from deepcompression.checkpoint.folder import MOST_BYTES
from deepcompression.checkpoint.folder_names import KEY, PREFIX
from deepcompression.cli import app
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.tensor import DenseTensor

TOKENIZER = json.dumps({f"token{number}": number for number in range(900)}).encode()
FILES = {
    "config.json": b'{"model_type": "bert"}\n',
    "tokenizer.json": TOKENIZER,
    "merges.txt": "a b\né ü\r\n".encode(),
    "modeling_own.py": b"import os\n",
    "1_Pooling/config.json": b"{}",
    "empty.txt": b"",
    ".gitattributes": b"*.bin filter=lfs",
    "spiece.model": bytes(range(256)),
}
WEIGHTS = {
    "b.weight": np.linspace(-1, 1, 1200, dtype="f4").reshape(30, 40),
    "a.weight": np.ones((3, 5), "f2"),
    "ids": np.arange(7),
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(files, folder="hf"):
    for name, data in files.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def done(line):
    """What a command prints, and what it notes beside it."""
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 0, result.stderr
    return result.stdout, result.stderr


def single():
    write(FILES)
    save_file(WEIGHTS, "hf/model.safetensors", {"format": "pt"})


def shards():
    write(FILES)
    names = {"b.weight": "model-00001-of-00002.safetensors"}
    names |= dict.fromkeys(("a.weight", "ids"), "model-00002-of-00002.safetensors")
    for shard in set(names.values()):
        own = {name: array for name, array in WEIGHTS.items() if names[name] == shard}
        save_file(own, f"hf/{shard}", {"format": "pt", "shard": shard})
    write({"model.safetensors.index.json": json.dumps({"metadata": {"total": 1}, "weight_map": names}).encode()})


def odd_header():
    """Another order and other spaces than this package writes, and another name."""
    write(FILES)
    header = (
        b'{ "ids": {"shape": [2], "data_offsets": [0, 16], "dtype": "I64"}, "__metadata__": {"z": "1", "a": "2"} } '
    )
    data = len(header).to_bytes(8, "little") + header + bytes(range(16))
    write({"diffusion_pytorch_model.safetensors": data})


def links():
    """As the cache of Hugging Face: each file a symbolic link to a blob."""
    single()
    for number, name in enumerate(files_of("hf")):
        blob = Path("blobs") / str(number)
        blob.parent.mkdir(exist_ok=True)
        (Path("hf") / name).rename(blob)
        (Path("hf") / name).symlink_to(blob.absolute())


KINDS = [single, shards, odd_header, links]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("profile", ["fast", "small", "paper"])
def test_a_folder_comes_back_byte_for_byte(kind, profile):
    kind()
    assert done(f"compress hf -o m.dcz --profile {profile}")[1] == ""
    done("verify m.dcz --against hf")
    done("decompress m.dcz -o back")
    assert files_of("back") == files_of("hf")
    assert not [path for path in Path().iterdir() if path.name.endswith(".partial")]


@pytest.mark.parametrize("options", ["--density 0.5 --bits 4", "--target-ratio 3"])
def test_a_folder_comes_back_with_pruned_and_shared_weights(options):
    shards()
    done(f"compress hf -o m.dcz {options}")
    done("decompress m.dcz -o back")
    ours, theirs = files_of("back"), files_of("hf")
    assert ours.keys() == theirs.keys()
    changed = {name for name in ours if ours[name] != theirs[name]}
    assert "model-00001-of-00002.safetensors" in changed
    assert all(name.endswith(".safetensors") for name in changed)
    tensors, _ = read_tensors("back")
    assert len(np.unique(tensors["b.weight"].numpy())) < 1200


@pytest.mark.parametrize("options", ["--recipe share-8bit", "--target-ratio 1.5"])
def test_a_folder_comes_back_from_a_model_with_calibration_inputs(options):
    """The model ties a weight that the folder has under one name."""
    write(FILES)
    state = {name: tensor.numpy() for name, tensor in make("tied").state_dict().items() if name != "output.weight"}
    save_file(state, "hf/model.safetensors", {"format": "pt"})
    np.savez("inputs.npz", np.arange(48).reshape(16, 3) % 11)
    done(f"compress hf -o m.dcz --calibration inputs.npz --model models:Tied {options}")
    done("decompress m.dcz -o back")
    ours, theirs = files_of("back"), files_of("hf")
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if ours[name] != theirs[name]} <= {"model.safetensors"}
    assert read_tensors("back")[0].keys() == state.keys()


def test_the_files_are_no_tensors_of_the_model():
    single()
    done("compress hf -o m.dcz")
    assert dc.load_tensors("m.dcz").keys() == WEIGHTS.keys()
    with dc.DczFile("m.dcz") as file:
        assert file.entries.keys() == WEIGHTS.keys()
        assert file.metadata == {"format": "pt"}
        assert file.folder.keys() == {*FILES, "model.safetensors"}
    report = json.loads(done("inspect m.dcz --json")[0])
    assert sum(report["parts"].values()) == report["file_bytes"] == Path("m.dcz").stat().st_size
    assert f"{PREFIX}tokenizer.json" in [row["name"] for row in report["rows"]]
    assert report["file_bytes"] < sum(len(data) for data in files_of("hf").values())


def test_the_weights_alone_can_be_written_too():
    single()
    done("compress hf -o m.dcz")
    done("decompress m.dcz -o m.safetensors")
    assert Path("m.safetensors").read_bytes() == Path("hf/model.safetensors").read_bytes()


def test_what_is_left_out_is_said():
    single()
    write({"pytorch_model.bin": b"x", "onnx/model.onnx": b"x", "model.fp16.safetensors": b"x", ".git/HEAD": b"x"})
    with Path("hf/large.txt").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    Path("hf/gone.txt").symlink_to("nowhere")
    names = ".git/, gone.txt, large.txt, model.fp16.safetensors, onnx/model.onnx, pytorch_model.bin"
    why = "as other weights, too large, hidden, or no files"
    note = f"dcz: note: these parts of the folder are left out, {why}: {names}.\n"
    assert done("compress hf -o m.dcz")[1] == note
    done("decompress m.dcz -o back")
    assert files_of("back").keys() == {*FILES, "model.safetensors"}


def test_the_output_and_what_belongs_to_it_may_lie_in_the_folder():
    single()
    before = files_of("hf")
    done("compress hf -o hf/m.dcz")
    done("decompress hf/m.dcz -o back")
    assert files_of("back") == before


def test_differences_in_other_files_are_found():
    single()
    done("compress hf -o m.dcz")
    write({"config.json": b"{}", "more.txt": b""})
    Path("hf/merges.txt").unlink()
    code, _, complaint = run("verify m.dcz --against hf")
    assert code == 1
    for difference in ("config.json has other bytes", "more.txt is only in hf", "merges.txt is only in m.dcz"):
        assert f"the file {difference}" in complaint


def test_an_output_where_something_is_stays():
    single()
    done("compress hf -o m.dcz")
    Path("empty").mkdir()
    done("decompress m.dcz -o empty")
    before = files_of("hf")
    code, _, complaint = run("decompress m.dcz -o hf")
    assert (code, files_of("hf")) == (2, before)
    assert "hf: exists and is not an empty folder: remove it, or choose another name" in complaint
    assert run("decompress m.dcz -o none/back")[0] == 2


def test_a_file_without_a_folder_is_not_written_as_one():
    write_tensors("m.safetensors", {"a": dense("F32", (4,))}, {})
    done("compress m.safetensors -o m.dcz")
    code, _, complaint = run("decompress m.dcz -o back")
    assert code == 2
    assert "the output of this command is a .safetensors or .onnx file" in complaint


# --- hostile files

HEAD = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'


def hostile(files=(), head=HEAD, key='["model.safetensors"]', length=None):
    tensors = {"a": dense("F32", (4,))}
    heads = {"model.safetensors": (len(head) if length is None else length).to_bytes(8, "little") + head}
    for name, data in {**heads, **dict.fromkeys(files, b"x")}.items():
        tensors[PREFIX + name] = DenseTensor("U8", np.frombuffer(data, np.uint8))
    save_tensors("m.dcz", tensors, {KEY: key})


UP = ("../evil", "a/../../evil", "..", "a\\..\\..\\evil")


@pytest.mark.parametrize("name", [*UP, "/evil", "//host/evil", "C:evil", "a/", "", ".", "a//b", "a\0b"])
def test_names_outside_of_the_folder_are_refused_before_anything_is_written(name):
    hostile([name])
    before = set(Path().rglob("*"))
    code, _, complaint = run("decompress m.dcz -o back")
    assert (code, set(Path().rglob("*"))) == (3, before)
    assert "m.dcz: it names the file" in complaint
    assert "which is not a file inside of its folder" in complaint


def test_a_file_in_the_place_of_a_folder_is_refused():
    hostile(["a", "a/b"])
    assert run("decompress m.dcz -o back")[0] == 3
    assert not Path("back").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": HEAD[:-1]}, "head is damaged"),
        ({"head": HEAD, "length": 5}, "head is cut off or damaged"),
        ({"head": HEAD.replace(b"16", b"12")}, "does not describe the tensor 'a'"),
        ({"head": HEAD.replace(b"0,16", b"4,20")}, "does not describe the tensor 'a'"),
        ({"head": HEAD.replace(b'"a"', b'"c"')}, "does not describe the tensor 'c'"),
        ({"head": HEAD.replace(b"[0,16]", b'"x"')}, "gives no offsets for 'a'"),
        ({"head": b"{}"}, "do not hold each tensor once: a"),
        ({"key": "3"}, "names no files of weights in JSON"),
        ({"key": "[3]"}, "names no files of weights in JSON"),
        ({"key": "["}, "names no files of weights in JSON"),
        ({"key": '["other.safetensors"]'}, "'other.safetensors', which is not in it"),
    ],
)
def test_damaged_heads_are_refused_before_anything_is_written(options, message):
    hostile(**options)
    code, _, complaint = run("decompress m.dcz -o back")
    assert (code, Path("back").exists()) == (3, False)
    assert message in complaint
