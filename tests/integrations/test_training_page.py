"""The scripts of docs/training.md work as printed, and when they are killed and started again."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import scripts
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import deepcompression as dc

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text()
SECTIONS = {"plain": "A loop of your own", "transformers": "Hugging Face", "lightning": "Lightning"}
SECTIONS |= {"accelerate": "Accelerate"}
# optimizer steps of one stage: 4 epochs of 8 batches, accumulated by two
STEPS = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def script(folder):
    def write(name):
        section = PAGE.split(f"\n## {SECTIONS[name]}\n")[1].split("\n## ")[0]
        (block,) = re.findall(r"```python\n(.*?)```", section, re.S)
        path = folder / f"train_{name}.py"
        path.write_text(block)
        return path

    return write


def killed(job):
    return job.code == -signal.SIGKILL


@pytest.mark.parametrize("name", SECTIONS)
def test_a_script_killed_in_each_stage_ends_with_the_same_file(name, script, folder):
    path, whole, broken = script(name), folder / f"{name}-whole", folder / f"{name}-broken"
    job = scripts.run(path, whole)
    assert job.code == 0, job.printed
    # a step of the pruner after each of the optimizer, batches accumulated or not
    assert job.pruner_steps == list(range(1, STEPS + 1))
    assert job.optimizer_steps == 2 * STEPS
    report = dc.Report.of(whole / "model.dcz")
    assert report.ratio > 2

    job = scripts.run(path, broken, kill_at=5)
    assert killed(job), job.printed
    assert list(broken.glob("pruned*"))
    assert not list(broken.glob("shared*"))
    # the rest of stage 1, and some of stage 2
    job = scripts.run(path, broken, kill_at=19)
    assert killed(job), job.printed
    assert 0 < len(job.pruner_steps) < STEPS
    assert list(broken.glob("shared*"))
    assert not (broken / "model.dcz").exists()
    job = scripts.run(path, broken)
    assert job.code == 0, job.printed
    assert job.pruner_steps == []
    assert 0 < job.optimizer_steps < STEPS
    assert (broken / "model.dcz").read_bytes() == (whole / "model.dcz").read_bytes()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


LAUNCHER = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]


@pytest.mark.parametrize("name", ["accelerate", "transformers", "lightning"])
def test_two_processes_one_of_them_killed_end_with_the_same_file(name, script, folder):
    path, whole, broken = script(name), folder / f"{name}-ranks-whole", folder / f"{name}-ranks-broken"
    if name == "lightning":
        text = path.read_text().replace("max_epochs=4,", 'max_epochs=4, accelerator="cpu", devices=2, strategy="ddp",')
        path = path.with_name("train_lightning_ddp.py")
        path.write_text(text)
    if name == "accelerate":
        # by a launcher, whose environment the other scripts get directly
        whole.mkdir()
        launch = [sys.executable, *LAUNCHER, "--master-port", str(free_port()), str(path)]
        environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        done = subprocess.run(launch, cwd=whole, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    else:
        jobs = scripts.run_ranks(path, whole, 2, free_port())
        assert [job.code for job in jobs] == [0, 0], "\n".join(job.printed for job in jobs)
        assert jobs[0].pruner_steps == list(range(1, STEPS // 2 + 1))
    for kill_at in (5, 9):
        jobs = scripts.run_ranks(path, broken, 2, free_port(), kill_at)
        assert killed(jobs[1]), jobs[1].printed
        # the other one does not wait for it
        assert jobs[0].code == 1, jobs[0].printed
        assert bool(list(broken.glob("shared*"))) == (kill_at == 9)
    jobs = scripts.run_ranks(path, broken, 2, free_port())
    assert [job.code for job in jobs] == [0, 0], "\n".join(job.printed for job in jobs)
    assert jobs[0].optimizer_steps < STEPS // 2
    assert (broken / "model.dcz").read_bytes() == (whole / "model.dcz").read_bytes()


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))


RECIPE = dc.Recipe.model_validate(
    {
        "version": 1,
        "schedule": {"kind": "gradual", "end": 6},
        "rules": [{"type": "Linear", "prune": {"density": 0.25}, "share": {"bits": 2}}],
    }
)
OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.1),
    "adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.1),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.1, momentum=0.9, centered=True),
    "adadelta": lambda parameters: torch.optim.Adadelta(parameters),
    "rprop": lambda parameters: torch.optim.Rprop(parameters),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_pruned_weights_are_zero_after_each_step_of_any_optimizer(optimizer):
    model, x = small(), torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    pruner = dc.prune(model, RECIPE)
    steps = OPTIMIZERS[optimizer](model.parameters())
    for _ in range(10):
        model(x).square().sum().backward()
        pruned = [(layer.weight == 0).clone() for layer in (model[0], model[2])]
        steps.step()
        steps.zero_grad()
        for layer, zero in zip((model[0], model[2]), pruned, strict=True):
            assert not layer.weight[zero].any()
        pruner.step()
    assert [(layer.weight != 0).float().mean() for layer in (model[0], model[2])] == [0.25, 0.25]


# torch warns of its own compiler
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function'> should not be instantiated")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_compiled_model_is_compiled_once_a_stage():
    model, x = small(), torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    pruner = dc.prune(model, RECIPE)

    def train(step=lambda: None):
        counter = CompileCounter()
        compiled = torch.compile(model, backend=counter, fullgraph=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        for _ in range(8):
            found = compiled(x)
            assert torch.equal(found, model(x))
            found.square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            step()
        return counter.frame_count

    assert train(pruner.step) == 1
    assert pruner.done
    dc.share(model, RECIPE)
    assert train() == 1


def test_an_average_of_weights_follows_masks_and_is_saved(tmp_path):
    model, x = small(), torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    pruner = dc.prune(model, RECIPE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    average, slow = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5)), None
    for _ in range(8):
        model(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        pruner.step()
        average.update_parameters(model)
        trained = model[0].parametrizations.weight.original.detach()
        slow = trained.clone() if slow is None else 0.5 * slow + 0.5 * trained
        survives = model[0].weight != 0
        assert torch.equal(average.module[0].weight, torch.where(survives, slow, 0))
    dc.share(average.module, RECIPE)
    dc.save(average.module, tmp_path / "model.dcz")
    back = dc.load(tmp_path / "model.dcz", into=small())
    assert torch.equal(back[0].weight, average.module[0].weight)
    assert (back[0].weight != 0).float().mean() == 0.25
