"""The README and the pages about running and training work as printed."""

import json
import re
from pathlib import Path

import torch
from processes import results
from torch.nn.parallel import DistributedDataParallel

import deepcompression as dc
from deepcompression import runtime
from reproduce.models import LeNet5

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
RUNNING = (ROOT / "docs" / "running.md").read_text()
TRAINING = (ROOT / "docs" / "training.md").read_text()


def block(language, words="", page=README):
    """The one block of code with these words."""
    (found,) = (text for text in re.findall(rf"```{language}\n(.*?)```", page, re.S) if words in text)
    return found


def test_it_fits_on_few_screens():
    assert len(README.splitlines()) <= 130


def test_the_first_numbers_are_those_of_the_results():
    lenet = json.loads((ROOT / "reproduce" / "results" / "lenet-5.json").read_text())
    layers = json.loads((ROOT / "benchmarks" / "results" / "layers.json").read_text())
    first = " ".join(README.partition("```python")[0].split())
    report = lenet["report"]
    assert f"takes {report['file_bytes']:,} bytes in place of {report['dense_bytes']:,}" in first
    assert f"which is {report['ratio']:.0f} times smaller" in first
    errors = lenet["test_error_percent"], lenet["dense_test_error_percent"]
    assert "error of {:.2f} %, the dense network {:.2f} %".format(*errors) in first
    (times,) = (found for case, found in layers["times"].items() if case.startswith("batch 1, 1 thread, hot"))
    float32, int8 = (times[f"ours {kind}, module"]["torch fp32"] for kind in ("float32", "int8"))
    assert f"in a {float32:.0f}th of `nn.Linear`'s time" in first
    assert f"take a {float32:.0f}th of `nn.Linear`'s time, and a {int8:.0f}th with int8" in " ".join(RUNNING.split())


def test_example_and_recipe_run_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(block("yaml"))
    torch.manual_seed(0)
    model = LeNet5()
    images = torch.randn(4, 1, 28, 28)
    trained = []

    def train(model, step=lambda: None):
        for _ in range(dc.Recipe.load("recipe.yaml").schedule.last_step):
            step()
        trained.append(model(images))

    names = {"model": model, "train": train, "Net": LeNet5}
    exec(block("python", "dc.Recipe.load"), names)
    assert torch.equal(names["model"](images), trained[-1])
    assert (names["arrays"]["fc1.weight"] == names["model"].fc1.weight.detach().numpy()).all()
    assert dc.Report.of("model.dcz").ratio > 15
    assert "prune by magnitude" in dc.Recipe.load("recipe.yaml").describe(LeNet5())


def several_processes(rank, code):
    model, other = [], DistributedDataParallel
    rule = dc.Rule(module="*", prune=dc.Prune(density=0.3))
    names = {
        "dc": dc,
        "Net": LeNet5,
        "DistributedDataParallel": other,
        "state": None,
        "recipe": dc.Recipe(rules=[rule]),
    }
    names["train"] = lambda net, step: (step(), model.append(net))
    torch.manual_seed(0)
    exec(code, names)
    names["state"] = names["model"].state_dict()
    exec(code, names)
    return [type(net).__name__ for net in model], names["pruner"].steps


def test_several_processes_run_as_printed():
    code = block("python", "dc.resume(model, state", TRAINING)
    assert results(several_processes, code) == [(["DistributedDataParallel"] * 2, 2)] * 2


def test_running_runs_as_printed(monkeypatch):
    model = ROOT / "reproduce" / "results" / "lenet-5-seed-1.dcz"
    x = torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        expected = dc.load(model, into=LeNet5())(x)
        names = {"dc": dc, "Net": LeNet5, "x": x}
        exec(block("python", "dc.explain").replace('"model.dcz"', f'"{model}"'), names)
        found = names["small"](x)
    assert torch.allclose(found, expected, atol=1e-5)
    assert dc.explain(names["small"]).bytes < 431_080 * 4 / 10


def test_the_runtime_runs_as_printed(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    names = {}
    exec(block("python", "deepcompression.runtime", RUNNING), names)
    assert names["logits"].shape == (1, 10)
    assert "window, float32" in capsys.readouterr().out


def test_the_layers_named_are_those_of_the_runtime():
    section = RUNNING.split("## Without torch")[1].split("##")[0]
    layers = [name for name in runtime.__all__ if name not in ("Layer", "LayerFacts", "Sequence", "Step")]
    assert all(f"`{layer}`" in section or layer == "Conv2d" for layer in layers)


def test_commands_and_presets_named_exist():
    for command in ("compress", "decompress", "inspect", "verify", "bench"):
        assert f"dcz {command} " in README
    assert all(f"`{preset}`" in README for preset in dc.Recipe.presets())
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    targets = re.findall(r"(?:`|^    )make (\w+)", README, re.M)
    assert {"demo", "test", "check"} <= set(targets)
    assert all(f"\n{target}:" in makefile for target in targets)
