"""A real model: a checkpoint out of a package, how it runs, inputs of two kinds, and the score of its task."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import KEPT
from benchmarks.packages import Release, unpacked
from deepcompression.checkpoint import GRAPH, read_tensors, write_tensors
from deepcompression.checkpoint.onnx.graph import FORMAT
from deepcompression.tensors.tensor import DenseTensor, Tensor

if TYPE_CHECKING:
    from torch.nn import Module

Array = NDArray[Any]
# an input's name -> its array, whose first axis counts examples
Batch = dict[str, Array]

FOLDER = KEPT / "packages"
# The seeds of the inputs for compression, and of those for the report.
CALIBRATION_SEED, TEST_SEED = 1, 2
# Operator -> which of its inputs are weights -> their axes that count output channels.
_WEIGHTS: dict[str, dict[int, tuple[int, ...]]] = {
    "Conv": {1: (0,)},
    "MatMul": {1: (1,)},
    "Gemm": {1: (1,)},
    "GRU": {1: (0, 1), 2: (0, 1)},
    "LSTM": {1: (0, 1), 2: (0, 1)},
}


class Inputs(NamedTuple):
    """Batches, and the truth about them that the score compares with: texts, pitches, clean sounds."""

    batches: list[Batch]
    truth: Any = None


def same_classes(outputs: Sequence[Array], original: Sequence[Array]) -> float:
    """Percentage of examples whose largest output is the original's."""
    return 100 * float(np.mean(np.concatenate(outputs).argmax(1) == np.concatenate(original).argmax(1)))


class RealModel(ABC):
    """A network that somebody else trained. `inputs` depend on their seed alone.

    `counts` are the examples for calibration and for the test; `task` explains the score and its unit.
    """

    release: ClassVar[Release]
    member: ClassVar[str]
    task: ClassVar[str]
    counts: ClassVar[tuple[int, int]]

    def path(self) -> Path:
        """The checkpoint, downloaded if need be. Raises `packages.UnavailableError`."""
        return unpacked(self.release, FOLDER) / self.member

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the checkpoint."""

    @abstractmethod
    def weights(self, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        """The names of the weights of at least two dimensions -> the axes that count output channels."""

    @abstractmethod
    def run(self, tensors: Mapping[str, Tensor], batches: Sequence[Batch]) -> list[Array]:
        """The output of each batch, with these tensors in the places of the checkpoint's."""

    @abstractmethod
    def inputs(self, seed: int, count: int) -> Inputs:
        """`count` examples, in batches."""

    @abstractmethod
    def score(self, outputs: Sequence[Array], original: Sequence[Array], truth: Any) -> float:
        """How well outputs do the task; `original` are those of the checkpoint as it is."""

    def calibration(self) -> Inputs:
        return self.inputs(CALIBRATION_SEED, self.counts[0])

    def test(self) -> Inputs:
        return self.inputs(TEST_SEED, self.counts[1])


class TorchModel(RealModel):
    """A network as a torch module that takes the inputs by name."""

    @abstractmethod
    def build(self) -> Module:
        """The module, with any weights."""

    def state(self) -> Mapping[str, Array]:
        """The checkpoint's tensors as NumPy arrays."""
        import torch

        state = torch.load(self.path(), weights_only=True, map_location="cpu")
        return {name: tensor.numpy() for name, tensor in state.items()}

    def tensors(self) -> dict[str, Tensor]:
        return {name: DenseTensor.from_numpy(array) for name, array in self.state().items()}

    def weights(self, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        return {name: (0,) for name, each in tensors.items() if each.dtype == "F32" and len(each.shape) >= 2}

    def module(self, tensors: Mapping[str, Tensor] | None = None) -> Module:
        """The module in evaluation, with these tensors, or with the checkpoint's."""
        import torch

        values = {name: torch.from_numpy(each.numpy().copy()) for name, each in (tensors or self.tensors()).items()}
        module = self.build()
        module.load_state_dict(values, strict=True)
        return module.eval()

    def run(self, tensors: Mapping[str, Tensor], batches: Sequence[Batch]) -> list[Array]:
        import torch

        module = self.module(tensors)
        with torch.inference_mode():
            return [
                module(**{name: torch.from_numpy(array) for name, array in batch.items()}).numpy() for batch in batches
            ]


class OnnxModel(RealModel):
    """A network as an ONNX graph that ONNX Runtime runs; the first output counts."""

    def tensors(self) -> dict[str, Tensor]:
        """The model's tensors, its graph among them."""
        return dict(read_tensors(self.path())[0])

    def weights(self, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
        import onnx

        found: dict[str, tuple[int, ...]] = {}
        for node in onnx.load_from_string(tensors[GRAPH].dense().elements.tobytes()).graph.node:
            for at, axes in _WEIGHTS.get(node.op_type, {}).items():
                name = node.input[at]
                if name in tensors and len(tensors[name].shape) >= 2:
                    transposed = any(each.name == "transB" and each.i for each in node.attribute)
                    found[name] = (0,) if transposed else axes
        return found

    def serialized(self, tensors: Mapping[str, Tensor]) -> bytes:
        """The model with these tensors."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            write_tensors(path, {name: tensor.dense() for name, tensor in tensors.items()}, FORMAT)
            return path.read_bytes()

    def run(self, tensors: Mapping[str, Tensor], batches: Sequence[Batch]) -> list[Array]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(self.serialized(tensors), options, providers=["CPUExecutionProvider"])
        return [np.asarray(session.run(None, dict(batch))[0]) for batch in batches]
