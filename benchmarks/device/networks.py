"""Exported networks on boards: outputs as in Python, flash, memory, instructions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import deepcompression as dc
from benchmarks.device.boards import BOARDS, BOARDS_OF, BUILT, LARGE, Board, Run, build, link_size, run
from benchmarks.environment import ROOT
from deepcompression.calibration.network import held_back
from deepcompression.embedded.fold import fold
from deepcompression.embedded.integer import integer_graph
from deepcompression.embedded.simulate_float import simulate_float
from deepcompression.embedded.simulate_int8 import simulate_int8
from deepcompression.embedded.torch_front import graph_of_torch
from reproduce.data import load_test, load_training
from reproduce.models import LeNet5, LeNet300100

Outputs = NDArray[Any]

CALIBRATION = 256
SEED = 5

# Outputs in float32 may differ by so much of the largest one.
TOLERANCE = 1e-5

COUNTED = 2


class DsCnn(nn.Module):
    """A network of keyword-spotting size: one picture of 49 x 10, 4 depthwise-separable blocks of 64 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 64, (10, 4), 2, (4, 1)), nn.BatchNorm2d(64), nn.ReLU())
        self.blocks = nn.Sequential(*(_block() for _ in range(4)))
        self.last = nn.Linear(64, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.blocks(self.first(x)).mean((2, 3)))


def _block() -> nn.Sequential:
    deep = (nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.BatchNorm2d(64), nn.ReLU())
    return nn.Sequential(*deep, nn.Conv2d(64, 64, 1), nn.BatchNorm2d(64), nn.ReLU())


class Gru(nn.Module):
    """A GRU of 64 units over 49 steps of 40 features, and 12 classes of its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(40, 64, batch_first=True)
        self.last = nn.Linear(64, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.gru(x)[0][:, -1])


class Subject(NamedTuple):
    """A network, inputs that choose its scales, and inputs that it is run on."""

    model: nn.Module
    calibration: NDArray[Any]
    inputs: NDArray[Any]


def _lenet(make: Callable[[], nn.Module], name: str) -> Subject:
    model = make()
    dc.load(ROOT / "reproduce" / "results" / f"{name}.dcz", model)
    held_out = load_training()[1].pixels[:CALIBRATION]
    return Subject(model.eval(), held_out.numpy(), load_test().pixels[:1000].numpy())


def _random(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> Subject:
    torch.manual_seed(SEED)
    model = make()
    noise = torch.randn(CALIBRATION + 100, *shape)
    model.train()
    with torch.no_grad():
        for _ in range(20):  # statistics of the batches
            model(noise[:CALIBRATION])
    _compress(model)
    return Subject(model.eval(), noise[:CALIBRATION].numpy(), noise[CALIBRATION:].numpy())


def _compress(model: nn.Module) -> None:
    """Prunes and shares weights that nothing trains: a quarter of the first layer and 15 % of others survive, and all
    of depthwise ones.
    """
    weights = {name: each.detach() for name, each in model.named_parameters() if each.dim() > 1}
    rules = []
    for name, weight in weights.items():
        depthwise = weight.shape[1:] == (1, 3, 3)
        density = 0.25 if name.startswith("first") else 0.15
        rules.append(
            dc.Rule(tensor=name, prune=None if depthwise else dc.Prune(density=density), share=dc.Share(bits=5))
        )
    tensors = {name: dc.DenseTensor.from_numpy(weight.numpy()) for name, weight in weights.items()}
    for name, made in dc.compress_tensors(tensors, dc.Recipe(rules=rules)).items():
        weights[name].copy_(torch.from_numpy(made.dense().elements))


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "LeNet-5": lambda: _lenet(LeNet5, "lenet-5"),
    "LeNet-300-100": lambda: _lenet(LeNet300100, "lenet-300-100"),
    "DS-CNN": lambda: _random(DsCnn, (1, 49, 10)),
    "GRU": lambda: _random(Gru, (49, 40)),
}


def largest_pair(subject: Subject) -> int:
    """Elements of the largest input and output of an operator, together."""
    graph = fold(graph_of_torch(subject.model, subject.calibration[:1]))
    return max(sum(graph.size(name) for name in (*each.inputs, each.output)) for each in graph.calls)


class Expected(NamedTuple):
    """What Python computes: inputs and outputs as a board sees them, and the classes of the torch model."""

    inputs: NDArray[Any]
    outputs: NDArray[Any]
    classes: NDArray[Any]


def expected(subject: Subject, int8: bool) -> Expected:
    """By the same graph and scales as `dc.export` makes of these calibration inputs."""
    with torch.no_grad():
        classes = subject.model(torch.from_numpy(subject.inputs)).argmax(1).numpy()
    graph = fold(graph_of_torch(subject.model, subject.calibration[:1]))
    if not int8:
        outputs = np.concatenate([simulate_float(graph, part)[graph.output] for part in _parts(subject.inputs)])
        return Expected(subject.inputs, outputs, classes)
    calibration = np.delete(subject.calibration, held_back(len(subject.calibration)), 0)
    integers = integer_graph(graph, calibration)
    q = integers.quantize(subject.inputs)
    return Expected(q, np.concatenate([simulate_int8(integers, part)[graph.output] for part in _parts(q)]), classes)


def _parts(inputs: NDArray[Any], each: int = 100) -> Iterator[NDArray[Any]]:
    return (inputs[at : at + each] for at in range(0, len(inputs), each))


def _sources(folder: Path) -> list[Path]:
    return sorted(each for each in folder.glob("*.c") if each.name != "net_test.c")


def _on_board(
    board: Board, folder: Path, element: str, given: Expected, count: int, counted: bool
) -> tuple[Run, Outputs]:
    """Runs the first `count` inputs. Raises RuntimeError if the board fails."""
    sources = [BOARDS / "network.c", *_sources(folder)]
    flags = (f"-DELEMENT={element}", f"-DCOUNT={count}", f"-I{folder}")
    program = build(board, f"{folder.name}-{count}", sources, flags)
    (program.parent / "inputs.bin").write_bytes(given.inputs[:count].tobytes())
    found = run(board, program, counted)
    outputs = np.frombuffer((program.parent / "outputs.bin").read_bytes(), given.outputs.dtype)
    return found, outputs.reshape(count, -1)


def measure_network(name: str, int8: bool, way: str, boards: Sequence[str], soft: int = 20) -> dict[str, Any]:
    """One network in one arithmetic and way of holding weights, on each board. Boards without floating point get
    `soft` inputs in float32.
    """
    subject = SUBJECTS[name]()
    kind = "int8" if int8 else "float32"
    folder = BUILT / "networks" / f"{name}-{kind}-{way}"
    made = dc.export(subject.model, subject.calibration, folder, int8=int8, weights=way, name="net", force=True)
    given = expected(subject, int8)
    element, size = ("int8_t", 1) if int8 else ("float", 4)
    pair = size * largest_pair(subject)
    result: dict[str, Any] = {"weights and constants": made.flash_bytes, "largest pair": pair, "boards": {}}
    for each in boards:
        board = BOARDS_OF[each]
        hard = int8 or any("hard" in flag for flag in board.flags)
        count = len(given.inputs) if hard else soft
        try:
            counted, _ = _on_board(board, folder, element, given, COUNTED, True)
        except RuntimeError:
            if each != "M0+":
                raise
            board = LARGE  # the smallest machine has not the memory
            counted, _ = _on_board(board, folder, element, given, COUNTED, True)
        _, outputs = _on_board(board, folder, element, given, count, False)
        right = given.outputs[:count]
        difference = float(np.abs(outputs.astype(np.float64) - right).max() / max(1, np.abs(right).max()))
        numbers = counted.numbers
        stack = max(numbers["opening"], numbers["running"])
        result["boards"][each] = {
            "machine": board.emulator[2],
            "inputs": count,
            "difference": difference,
            "same class as in Python": int((outputs.argmax(1) == right.argmax(1)).sum()),
            "same class as torch": int((outputs.argmax(1) == given.classes[:count]).sum()),
            "instructions": int(np.mean(counted.counts)),
            "flash": link_size(board, tuple(_sources(folder)), ("net_open", "net_run")),
            "state": numbers["state"],
            "stack": stack,
            "ram": numbers["state"] + stack,
            "input and output": size * int(given.inputs[0].size + right[0].size),
        }
    return result
