"""Layers that are read, decoded and packed when they are first used: results, memory, errors, threads, forks."""

import copy
import io
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from running_models import assert_near, compressed, double, floats, linear, mlp, packed_names, saved
from torch import nn

import deepcompression as dc
from deepcompression.file.reader import DczFile
from deepcompression.nn.packed_layers import PackedLinear
from deepcompression.nn.packed_weight import PackedWeight


class Net(nn.Module):
    """Every kind of layer that can wait: a table, convolutions, attention, recurrent layers, tied weights."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(128, 64)
        self.convolution = nn.Conv1d(64, 64, 3, padding=1)
        self.attention = nn.TransformerEncoderLayer(64, 4, 96, batch_first=True)
        self.recurrent = nn.LSTM(64, 64, batch_first=True)
        self.unused = nn.Linear(64, 64)
        self.head = nn.Linear(64, 128, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x):
        y = self.convolution(self.table(x).transpose(1, 2)).transpose(1, 2)
        return self.head(self.recurrent(self.attention(y))[0])


NUMBERS = torch.arange(2 * 6).view(2, 6) * 11 % 128


@pytest.fixture(scope="module")
def net():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return compressed(Net(), density=0.3).eval()


@pytest.fixture(scope="module")
def net_file(net, tmp_path_factory):
    return saved(net, tmp_path_factory.mktemp("net"))


@pytest.fixture
def reads(monkeypatch):
    """The names of the tensors that are read."""
    found, checked = [], DczFile._checked
    monkeypatch.setattr(DczFile, "_checked", lambda file, name: found.append(name) or checked(file, name))
    return found


def unread_names(small):
    return {name for row in dc.explain(small).rows if row.form == "unread" for name in row.names}


def run_mlp(folder):
    """The dense model, its file, and the lazy one; 0.weight and 3.weight wait."""
    model = mlp()
    path = saved(model, folder)
    return model, path, dc.run(copy.deepcopy(model).to("meta"), path, lazy=True)


@pytest.mark.parametrize("options", [{}, {"prefer": "memory"}, {"linear": ["head.*"]}, {"dense": ["*"]}])
@pytest.mark.parametrize("meta", [True, False])
def test_it_computes_and_is_packed_as_the_one_that_is_read_at_once(options, meta, net, net_file):
    model = copy.deepcopy(net).to("meta") if meta else copy.deepcopy(net)
    lazy, eager = dc.run(model, net_file, lazy=True, **options), dc.run(model, net_file, **options)
    assert len(unread_names(lazy)) == 10
    with torch.no_grad():
        assert_near(lazy(NUMBERS), double(net)(NUMBERS), 5e-6)
        assert torch.equal(lazy(NUMBERS), eager(NUMBERS))
    assert unread_names(lazy) == {"unused.weight"}
    lazy.unused(floats(2, 64))
    assert dc.explain(lazy) == dc.explain(eager)
    assert [type(each) for each in lazy.modules()] == [type(each) for each in eager.modules()]
    assert list(lazy.state_dict()) == list(eager.state_dict())


def test_a_layer_is_read_once_at_its_first_use_and_a_tied_weight_for_all_its_places(net, net_file, reads):
    small = dc.run(net, net_file, lazy=True)
    assert not {name for name in reads if "weight" in name and "norm" not in name}
    reads.clear()
    small.head(floats(2, 64))
    small.head(floats(2, 64))
    small.table(NUMBERS)
    assert len(reads) == 1
    small.eval()
    small.train()
    repr(small)
    assert len(reads) == 1


def test_nothing_of_an_unused_layer_is_held(tmp_path):
    _, _, small = run_mlp(tmp_path)
    small[0](floats(1, 80))
    assert isinstance(small[0].weight, PackedWeight)
    assert type(small[0]) is PackedLinear
    waiting = vars(small[3])
    assert waiting["_parameters"]["weight"].is_meta
    assert not waiting["_modules"]
    with torch.no_grad():
        assert dc.explain(small).bytes == small[0].weight.packed.numel() + small[5].weight.nbytes


def test_a_weight_that_the_rule_keeps_dense_is_a_parameter_again(tmp_path):
    model = nn.Linear(80, 96)
    path = saved(model, tmp_path)
    small = dc.run(nn.Linear(80, 96, device="meta"), path, lazy=True)
    x = floats(3, 80)
    assert torch.equal(small(x), model(x))
    assert type(small) is nn.Linear
    assert list(small._parameters) == ["weight", "bias"]
    assert small.weight.requires_grad
    assert "256 values" in dc.explain(small).rows[0].why


LOOKS = {
    "state_dict": lambda small: small.state_dict(),
    "parameters": lambda small: list(small.parameters()),
    "buffers": lambda small: list(small.buffers()),
    "to": lambda small: small.to(torch.bfloat16),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda small: pickle.loads(pickle.dumps(small)),
    "save": lambda small: torch.save(small, io.BytesIO()),
    "run": dc.run,
    "attribute": lambda small: (small[0].weight.shape, small[3].weight.shape),
}


@pytest.mark.parametrize("look", LOOKS)
def test_whoever_looks_at_all_tensors_finds_them(look, tmp_path):
    model, _, small = run_mlp(tmp_path)
    found = LOOKS[look](small)
    if look == "copy":
        assert unread_names(small)
        return
    assert not unread_names(small)
    x = floats(2, 80)
    with torch.no_grad():
        for each in (small, found) if isinstance(found, nn.Module) and look != "to" else (small,):
            y = each(x.to(torch.bfloat16) if look == "to" else x)
            assert_near(y, double(model)(x.double()), 1e-2 if look == "to" else 5e-6)


def test_a_state_is_loaded_into_layers_that_wait(tmp_path):
    _, path, small = run_mlp(tmp_path)
    small.load_state_dict(dc.run(mlp(), path).state_dict())
    assert not unread_names(small)


def test_several_threads_may_use_it_at_once(net, net_file, reads):
    small = dc.run(net, net_file, lazy=True)
    reads.clear()
    expected, found, start = dc.run(net, net_file)(NUMBERS), [], threading.Barrier(4, timeout=20)
    reads.clear()

    def call():
        start.wait()
        with torch.no_grad():
            found.append(small(NUMBERS))

    threads = [threading.Thread(target=call, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 4
    assert all(torch.equal(each, expected) for each in found)
    assert len(reads) == len(set(reads)) == 8


def test_what_is_read_in_the_mode_for_inference_computes_outside_of_it(tmp_path):
    _, _, small = run_mlp(tmp_path)
    x = floats(2, 80)
    with torch.inference_mode():
        expected = small(x)
    assert torch.equal(small(x), expected)
    assert not any(each.is_inference() for each in [*small.parameters(), *small.buffers()])


@pytest.mark.parametrize("change", ["replaced", "deleted"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps open files from being replaced")
def test_the_file_that_was_opened_is_read_whatever_happens_to_its_name(change, tmp_path):
    model, path, small = run_mlp(tmp_path)
    path.unlink()
    if change == "replaced":
        saved(linear(), tmp_path)
    x = floats(2, 80)
    assert_near(small(x).detach(), double(model)(x.double()).detach())


def test_damaged_bytes_are_an_error_that_names_tensor_and_remedy_and_the_layer_can_be_used_later(tmp_path):
    model, path, small = run_mlp(tmp_path)
    x, sound = floats(2, 80), path.read_bytes()
    with DczFile(path) as file:
        entry = file.entries["3.weight"]
    damaged = bytearray(sound)
    damaged[entry.offset + 5] ^= 1
    for _ in range(2):
        path.write_bytes(damaged)
        with pytest.raises(
            dc.FormatError, match=r"model.dcz: tensor '3.weight': .*damaged.* stays unread: the file was"
        ):
            small(x)
    assert unread_names(small) == {"3.weight"}
    path.write_bytes(sound)
    assert_near(small(x).detach(), double(model)(x.double()).detach())


def test_bytes_that_were_damaged_from_the_start_are_found_at_the_first_use(tmp_path):
    path = saved(mlp(), tmp_path)
    with DczFile(path) as file:
        entry = file.entries["3.weight"]
    damaged = bytearray(path.read_bytes())
    damaged[entry.offset + 5] ^= 1
    path.write_bytes(damaged)
    small = dc.run(mlp(), path, lazy=True)
    with pytest.raises(dc.FormatError, match=r"stays unread: write its right bytes"):
        small(floats(2, 80))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system lists no open files")
def test_the_file_is_closed_when_all_is_read_or_the_model_is_gone(tmp_path):
    _, path, small = run_mlp(tmp_path)

    def is_open():
        return path in [each.readlink() for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]

    assert is_open()
    small(floats(2, 80))
    assert not is_open()
    small = dc.run(mlp(), path, lazy=True)
    assert is_open()
    del small
    assert not is_open()


FORKED = """
import os, sys, torch, deepcompression as dc
torch.set_num_threads(1)
small = dc.run(torch.nn.Linear(80, 96, device="meta"), sys.argv[1], lazy=True)
unread = vars(small)["unread_weights"]["weight"]
unread._lock.acquire() # a thread of the parent that reads at this moment
child = os.fork()
if not child:
    import threading
    x = torch.ones(1, 80)
    thread = threading.Thread(target=lambda: print(float(small(x).sum()), flush=True))
    thread.start()
    thread.join(20)
    os._exit(0)
os.waitpid(child, 0)
unread._lock.release()
print(float(small(torch.ones(1, 80)).sum()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_forked_child_reads_by_itself(tmp_path):
    path = saved(linear(), tmp_path)
    done = subprocess.run([sys.executable, "-c", FORKED, path], capture_output=True, text=True, check=True)
    child, parent = done.stdout.split()
    assert child == parent


def test_transforms_are_told_to_wait_until_layers_are_read(tmp_path):
    _, _, small = run_mlp(tmp_path)
    x = floats(2, 80)
    with pytest.raises(RuntimeError, match=r"0.weight is not read yet.*list\(model.parameters\(\)\)"):
        torch.func.vmap(small)(x)
    list(small.parameters())
    assert_near(torch.func.vmap(small)(x), small(x))


def test_compilers_read_all_layers_before_they_follow_a_call(tmp_path):
    x = floats(2, 80)
    _, _, small = run_mlp(tmp_path)
    compiled = torch.compile(small, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x), small(x))
    _, _, small = run_mlp(tmp_path)
    assert torch.equal(torch.export.export(small, (x,)).module()(x), small(x))


def test_a_weight_that_the_model_holds_elsewhere_is_read_at_once(tmp_path):
    model = linear()
    path = saved(model, tmp_path)
    model.kept = [model.weight]
    small = dc.run(model, path, lazy=True)
    assert unread_names(small) == set()
    assert small.kept[0] is small.weight


def test_a_running_model_that_waits_is_not_saved_as_a_file(tmp_path):
    _, _, small = run_mlp(tmp_path)
    with pytest.raises(ValueError, match=r"is packed by dc\.run"):
        dc.save(small, tmp_path / "other.dcz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": None}, "name the file"),
        ({"tune": True}, "choose one"),
    ],
)
def test_options_that_do_not_go_with_it_are_refused(options, message, tmp_path):
    path = saved(linear(), tmp_path)
    with pytest.raises(ValueError, match=message):
        dc.run(linear(), **({"path": path} | options), lazy=True)


def test_what_is_packed_is_named_once_it_is_read(tmp_path):
    _, _, small = run_mlp(tmp_path)
    assert packed_names(small) == set()
    small(floats(1, 80))
    assert packed_names(small) == {"0.weight", "3.weight"}
