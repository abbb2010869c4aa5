"""dc.run: a new module that computes from packed weights, for every kind of layer, from a file or a model."""

import copy
import subprocess
import sys

import pytest
import torch
from models import assert_same, snapshot
from running_models import assert_near, compressed, double, floats, linear, mlp, packed_names, recipe, saved
from torch import nn
from torch.nn.utils import parametrize

import deepcompression as dc
from deepcompression.coding.coders import PROFILES
from deepcompression.nn import tuning


class Net(nn.Module):
    """Every kind of layer that is not attention or recurrent, and some that stay dense."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(200, 64, padding_idx=3)
        self.conv1 = nn.Conv1d(64, 64, 3, padding="same")
        self.conv2 = nn.Conv2d(1, 8, 3)
        self.conv3 = nn.Conv2d(8, 64, (3, 5), stride=2, padding=(1, 2), padding_mode="reflect", groups=1)
        self.conv4 = nn.Conv3d(8, 48, 3, dilation=(1, 1, 2), groups=2, bias=False)
        self.norm = nn.BatchNorm2d(64)
        self.fc = nn.Linear(64, 96)
        self.bag = nn.EmbeddingBag(100, 96, mode="sum")
        self.last = nn.Linear(96, 10)
        self.register_buffer("scratch", torch.zeros(3), persistent=False)

    def forward(self, x):
        y = self.conv1(self.table(x).transpose(1, 2)).transpose(1, 2)
        z = self.norm(self.conv3(torch.relu(self.conv2(y.unsqueeze(1)))))
        deep = self.conv4(y.reshape(2, 8, 4, 4, -1))
        return self.last(self.fc(z.mean((2, 3))) + self.bag(x % 100)) + deep.mean()


NUMBERS = torch.arange(2 * 12).view(2, 12) * 7 % 200
PACKED = {f"{name}.weight" for name in ("table", "conv1", "conv3", "conv4", "fc", "bag")}


@pytest.fixture(scope="module")
def net():
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return compressed(Net(), density=0.3).eval()


@pytest.mark.parametrize("profile", PROFILES)
def test_a_file_is_run_as_the_dense_model_computes(net, profile, tmp_path):
    path = saved(net, tmp_path, profile)
    with torch.device("meta"):
        empty = Net().eval()
    empty.scratch = torch.zeros(3)
    small = dc.run(empty, path)
    assert packed_names(small) >= PACKED
    assert not any(tensor.is_meta for tensor in [*small.parameters(), *small.buffers()])
    assert all(parameter.is_meta for parameter in empty.parameters())
    with torch.no_grad():
        expected = double(net)(NUMBERS)
        assert_near(small(NUMBERS), expected, 5e-6)


@pytest.mark.parametrize("stage", ["shared", "final"])
def test_a_model_just_shared_is_run_and_stays_as_it_is(net, stage):
    model = copy.deepcopy(net)
    if stage == "shared":
        dc.share(model, recipe(bits=4))
    before, parts = snapshot(model), {name: id(part) for name, part in model.named_modules()}
    small = dc.run(model)
    assert_same(snapshot(model), before)
    assert {name: id(part) for name, part in model.named_modules()} == parts
    assert packed_names(small) >= PACKED
    assert not any(parametrize.is_parametrized(part) for part in small.modules())
    with torch.no_grad():
        assert_near(small(NUMBERS), double(dc.finalize(copy.deepcopy(model)))(NUMBERS), 5e-6)
    for parameter in small.parameters():
        parameter.data.fill_(1)
    assert_same(snapshot(model), before)


def test_masks_become_zeros_of_dense_weights():
    model = nn.Linear(80, 96)
    dc.prune(model, recipe(0.1))
    small = dc.run(model)
    assert not parametrize.is_parametrized(small)
    assert torch.equal(small.weight, model.weight)
    assert "256 values" in dc.explain(small).rows[0].why


def test_the_result_is_in_the_mode_for_inference_and_requires_grad_stays(net, tmp_path):
    model = copy.deepcopy(net).train()
    model.norm.weight.requires_grad_(False)
    for small in (dc.run(model), dc.run(model, saved(model, tmp_path))):
        assert not any(module.training for module in small.modules())
        assert torch.equal(small(NUMBERS), small(NUMBERS))
        assert small.last.bias.requires_grad
        assert not small.norm.weight.requires_grad
    assert all(module.training for module in model.modules())
    assert small.train().fc.training


def test_the_model_may_be_a_single_layer(tmp_path):
    layer = linear()
    small = dc.run(nn.Linear(80, 96, device="meta"), saved(layer, tmp_path))
    assert isinstance(small, nn.Linear)
    x = floats(3, 80)
    assert_near(small(x).detach(), double(layer)(x.double()).detach())


@pytest.mark.parametrize("batch", [1, 8, 64])
@pytest.mark.parametrize("activations", ["float32", "int8"])
def test_activations_and_batch_choose_the_form(batch, activations):
    layer = linear(256, 320)
    small = dc.run(layer, activations=activations, batch=batch)
    x = floats(batch, 320)
    assert_near(small(x).detach(), double(layer)(x.double()).detach(), 1e-6 if activations == "float32" else 3e-2)


def test_hooks_and_other_attributes_are_those_of_a_copy():
    model = mlp()
    seen = []
    model[0].register_forward_hook(lambda module, args, output: seen.append(type(module)))
    model.note = ["kept"]
    small = dc.run(model)
    small(floats(1, 80))
    assert len(seen) == 1
    assert small.note == ["kept"]
    assert small.note is not model.note


@pytest.mark.parametrize("packed", [0.5, 2.0])
def test_a_device_that_is_named_is_measured_as_well(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(tuning, "cache_file", lambda: tmp_path / "times.json")
    monkeypatch.setattr(tuning, "_measured", lambda *calls: [1.0, packed])
    small = dc.run(nn.Sequential(linear()), device="cpu", batch=3, tune=True)
    assert packed_names(small) == ({"0.weight"} if packed < 1 else set())


@pytest.mark.parametrize("kind", ["lstm", "mlp"])
def test_a_running_model_may_be_run_again(kind):
    model = mlp() if kind == "mlp" else compressed(nn.LSTM(80, 64))
    small = dc.run(model)
    again = dc.run(small)
    assert packed_names(again) == packed_names(small) != set()
    x = floats(3, 80)
    first, second = small(x), again(x)
    assert torch.equal(*(y if kind == "mlp" else y[0] for y in (first, second)))


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(floats(96, 80))
        self.other = nn.Parameter(floats(80, 80))

    def forward(self, x):
        return nn.functional.linear(x @ self.other, self.matrix)


class OwnOfTwo(Own):
    """Nobody sees from outside what it takes."""

    def forward(self, x, scale):
        return scale["by"] * super().forward(x)


def test_matrices_of_ones_own_modules_are_packed_where_their_use_shows(tmp_path):
    model = compressed(nn.Sequential(Own()))
    small = dc.run(model, saved(model, tmp_path))
    assert packed_names(small) == {"0.matrix", "0.other"}
    x = floats(2, 80)
    assert_near(small(x).detach(), double(model)(x.double()).detach(), 3e-6)


def test_other_matrices_are_packed_where_they_are_named():
    model = compressed(OwnOfTwo())
    assert packed_names(dc.run(model)) == set()
    assert "name it in linear=" in dc.explain(dc.run(model)).rows[0].why
    small = dc.run(model, linear=["matrix"])
    assert packed_names(small) == {"matrix"}
    x, scale = floats(2, 80), {"by": 2}
    assert_near(small(x, scale).detach(), double(model)(x.double(), scale).detach(), 3e-6)
    with pytest.raises(TypeError, match=r"other is packed.*dense="):
        dc.run(model, linear=["*"])(x, scale)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(128, 64)
        self.output = nn.Linear(64, 128, bias=False)
        self.output.weight = self.table.weight
        self.again = nn.Linear(64, 128)
        self.again.weight = self.table.weight

    def forward(self, x):
        y = self.table(x)
        return self.output(y) + self.again(y)


def test_a_tied_weight_is_held_once(tmp_path):
    model = compressed(Tied())
    small = dc.run(Tied(), saved(model, tmp_path), prefer="memory")
    assert packed_names(small) == {"table.weight", "output.weight", "again.weight"}
    assert small.table.weight is small.output.weight is small.again.weight
    (row,) = (row for row in dc.explain(small).rows if row.packed)
    assert "tied, and held once" in row.why
    x = torch.arange(128)
    assert_near(small(x).detach(), double(model)(x).detach())


@pytest.mark.parametrize("options", [{"linear": ["output.weight"], "prefer": "memory"}, {"prefer": "time"}])
def test_a_tied_weight_gets_a_faster_form_of_its_own_where_it_is_named_or_time_counts(options):
    model = compressed(Tied())
    small = dc.run(model, **options)
    assert small.output.weight is small.again.weight is not small.table.weight
    assert sum(row.packed for row in dc.explain(small).rows) == 2
    assert "tied" in next(row.why for row in dc.explain(small).rows if "again.weight" in row.names)
    x = torch.arange(128)
    assert_near(small(x).detach(), double(model)(x).detach())


def test_a_module_under_two_names_stays_one():
    layer = linear(80, 80)
    small = dc.run(nn.Sequential(layer, nn.ReLU(), layer))
    assert small[0] is small[2]
    assert dc.explain(small).rows[0].names == ("0.weight", "2.weight")


LIMIT = """
import sys, torch
from torch import nn
import deepcompression as dc
import numpy as np

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

torch.set_num_threads(1)
nn.Linear(8, 8)(torch.zeros(1, 8))
before = peak()
small = dc.run(nn.Linear(12544, 4096, device="meta"), sys.argv[1])
with torch.inference_mode():
    small(torch.ones(1, 12544))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_file_is_loaded_and_run_without_its_dense_weights(tmp_path):
    """Half of fc6 of VGG-16, the largest layer of all: 205 MB dense. All three layers may take 60 MB."""
    import numpy as np

    from deepcompression.tensors.tensor import CompressedTensor, DenseTensor

    rng = np.random.default_rng(0)
    positions = np.unique(rng.integers(0, 4096 * 12544, 2_100_000))
    codes = rng.integers(0, 32, len(positions)).astype(np.uint8)
    codebook = np.sort(rng.standard_normal(32)).astype(np.float32)
    weight = CompressedTensor((4096, 12544), positions, codebook, codes)
    tensors = {"weight": weight, "bias": DenseTensor.from_numpy(np.zeros(4096, np.float32))}
    dc.save_tensors(tmp_path / "fc6.dcz", tensors)
    done = subprocess.run(
        [sys.executable, "-c", LIMIT, tmp_path / "fc6.dcz"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 30 * 1024, f"{done.stdout} KiB"


def test_wrappers_are_left_out_of_names():
    small = dc.run(linear())
    assert dc.explain(nn.DataParallel(small)).rows == dc.explain(small).rows
