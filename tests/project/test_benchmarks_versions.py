"""This version beside an older one: workers, ratios, demands, page; the older one is this one again."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from turns import Turns

import deepcompression
from benchmarks import page, timing
from benchmarks.environment import ROOT
from benchmarks.versions import __main__ as versions
from benchmarks.versions.tasks import Task, tasks
from benchmarks.worker import Worker, WorkerError
from deepcompression import _core


def test_versions_take_strict_turns_and_the_first_alternates():
    turns = []
    rounds = versions.compare(Turns("old", 1e-6, turns), Turns("new", 2e-6, turns), 0)
    assert rounds == [(1e-6, 2e-6)] * timing.LEAST_ROUNDS
    names = [name for name, _, _ in turns[2:]]
    assert names == ["new", "old", "old", "new", "new", "old"]
    assert {(calls, cold) for _, calls, cold in turns[2:]} == {(timing.TURN_CALLS, False)}
    turns.clear()
    versions.compare(Turns("old", 1.0, turns), Turns("new", 1e-6, turns), 0)
    assert {(calls, cold) for _, calls, cold in turns[2:]} == {(1, True)}


def test_a_ratio_is_the_median_of_those_of_the_rounds():
    # medians of the times would give 2.0 / 2.0
    rounds = [(1.0, 2.0), (2.0, 1.0), (4.0, 6.0)]
    found = versions.summary([rounds])
    assert (found["ratio"], found["lower quartile"], found["upper quartile"]) == (1.5, 1.0, 1.75)
    assert (found["old ms"], found["new ms"]) == (2000, 2000)
    # the one process with many rounds counts as much as the others
    assert versions.summary([rounds * 9, [(1.0, 1.0)], [(1.0, 1.01)]])["ratio"] == 1.01


def test_a_ratio_is_measured_again_if_noise_may_have_moved_it():
    doubtful = [ratio for ratio in (0.3, 0.92, 0.99, 1.01, 1.04, 4.0) if versions.doubtful(ratio)]
    assert doubtful == [0.92, 1.04, 4.0]


class Fake:
    """A worker that answers whatever it is asked."""

    def __init__(self, magnitude=1.0):
        self.magnitude = magnitude

    def ask(self, **command):
        return {"seconds": [1.0]}

    def send(self, **command):
        pass

    def receive(self):
        return {"form": "", "magnitude": self.magnitude}


@pytest.mark.parametrize(("ratios", "renewed", "ratio"), [([1.0], 0, 1.0), ([1.2, 1.0, 1.01, 1.02, 1.0], 4, 1.01)])
def test_a_doubtful_ratio_is_that_of_the_median_pair_of_new_processes(ratios, renewed, ratio, monkeypatch):
    left, sources = list(ratios), []
    monkeypatch.setattr(versions, "renew", lambda workers, source: sources.append(source))
    monkeypatch.setattr(versions, "compare", lambda old, new, seconds: [(1.0, left.pop(0))] * 3)
    workers = {"old": Fake(), "new": Fake()}
    found = versions.measure(Task("layers", "a", {}), workers, Path("older"), 0)
    assert (found["ratio"], found["attempts"], sources) == (ratio, len(ratios), [Path("older")] * renewed)


def test_demands_name_the_worst_ratio_and_what_is_missing():
    groups = {"layers": {"a": {"ratio": 1.02}, "b": {"ratio": 0.5}}, "reading": {"c": {"ratio": 1.05}}}
    found = {each["demand"].replace("new takes at most 1.03 times as long as old, ", ""): each for each in
             versions.demands(groups, ["d"])}  # fmt: skip
    assert {text: each["met"] for text, each in found.items()} == {
        "layers: geometric mean": True,
        "layers: each": True,
        "reading: geometric mean": False,
        "reading: each": False,
        "d is measured": False,
    }
    assert found["reading: each"]["found"] == "1.050 (c)"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """An older version: a copy of this one, with the extension where a checkout has it."""
    package = tmp_path_factory.mktemp("older") / "deepcompression"
    shutil.copytree(Path(deepcompression.__file__).parent, package)
    shutil.copy(_core.__file__, package)
    return package.parent


@pytest.fixture(scope="module")
def workers(source):
    made = {}
    versions.renew(made, source)
    yield made
    versions.close(made)


@pytest.fixture(scope="module")
def measured(workers, source, tmp_path_factory):
    """The first task of each kind, measured by one pair of processes."""
    found, kinds = {}, set()
    for task in tasks(tmp_path_factory.mktemp("versions"), quick=True):
        kind = (task.command["kind"], task.command.get("profile"))
        if kind not in kinds and kind[1] in (None, "fast"):
            kinds.add(kind)
            with pytest.MonkeyPatch.context() as once:
                once.setattr(versions, "ATTEMPTS", 1)
                found.setdefault(task.group, {})[task.name] = versions.measure(task, workers, source, 0)
    return found


def test_workers_of_two_versions_measure_every_kind_of_task(measured):
    assert {group: len(found) for group, found in measured.items()} == {
        "layers": 1,
        "convolutions": 1,
        "coding": 2,
        "reading": 2,
    }
    (layer,) = measured["layers"].values()
    assert layer["old form"] == layer["new form"] != ""
    assert layer["rounds"] >= timing.LEAST_ROUNDS
    assert layer["lower quartile"] <= layer["ratio"] <= layer["upper quartile"]


def test_a_failed_command_and_an_ended_worker_are_errors(workers):
    with pytest.raises(WorkerError, match="old failed: FileNotFoundError"):
        workers["old"].ask(make="x", kind="decoding", file="no such file", threads=1)
    ended = Worker("DeepSparse", [sys.executable, "-c", "import deepsparse_nowhere"], ROOT, {})
    with pytest.raises(WorkerError, match=r"DeepSparse has ended: ModuleNotFoundError.*deepsparse_nowhere"):
        ended.ask(forget=True)
    ended.close()


def test_what_a_library_prints_is_no_answer():
    chatty = Worker(
        "x", [sys.executable, "-c", "print('Welcome'); input(); print('[1]'); print('{\"y\": 1}')"], ROOT, {}
    )
    assert chatty.ask(forget=True) == {"y": 1}
    chatty.close()


def test_versions_that_give_different_results_are_refused():
    task = Task("layers", "a", {})
    assert versions.measure(task, {"old": Fake(1.0), "new": Fake(1.001)}, Path("older"), 0)["ratio"] == 1
    with pytest.raises(ValueError, match="a: the versions give different results"):
        versions.measure(task, {"old": Fake(1.0), "new": Fake(1.1)}, Path("older"), 0)


def test_the_page_shows_the_forms_of_both_versions(measured, tmp_path):
    row = {"old ms": 2.0, "new ms": 1.0, "ratio": 0.5, "lower quartile": 0.4, "upper quartile": 0.6}
    groups = measured | {"layers": {"fc": row | {"old form": "window", "new form": "panel"}}}
    result = {"command": "c", "commit": "d" * 40, "machine": "m", "old": {"commit": "e" * 40}, "missing": {"x": "no"}}
    (tmp_path / "versions.json").write_text(json.dumps(result | {"groups": groups}))
    text = page.pages(tmp_path)["results/versions.md"]
    assert "| fc (window -> panel) | 2 | 1 | 0.500 | 0.400 | 0.600 |" in text
    assert "**Not measured:** x: no." in text
