"""This package's way: a model and its calibration inputs -> a model of a given size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import deepcompression as dc
from benchmarks.real_models.baselines import Made
from benchmarks.real_models.network import Inputs, OnnxModel, RealModel, TorchModel
from deepcompression.tensors.tensor import Tensor

PROFILE = "small"


def calibrated(model: RealModel, inputs: Inputs, size: int, folder: Path) -> Made:
    """A plan for `size` bytes, carried out; the tensors come from its file."""
    path = folder / "calibrated.dcz"
    how = _onnx(model, inputs, size, path) if isinstance(model, OnnxModel) else _torch(model, inputs, size, path)
    with dc.DczFile(path) as file:
        tensors: dict[str, Tensor] = {name: file.read(name) for name in file}
    return Made(tensors, path.stat().st_size, how)


def _torch(model: RealModel, inputs: Inputs, size: int, path: Path) -> str:
    import torch

    assert isinstance(model, TorchModel)
    module = model.module()
    batches = [{name: torch.from_numpy(array) for name, array in batch.items()} for batch in inputs.batches]
    plan = dc.plan(module, batches, target_size=size, profile=PROFILE)
    plan.apply(module)
    dc.save(module, path, profile=PROFILE)
    return f"predicted {plan.file_bytes:,} bytes"


def _onnx(model: OnnxModel, inputs: Inputs, size: int, path: Path) -> str:
    from deepcompression.calibration.onnx_network import OnnxNetwork

    together = {name: np.concatenate([batch[name] for batch in inputs.batches]) for name in inputs.batches[0]}
    network = OnnxNetwork.open(model.path(), together)
    # the graph and other exact tensors count too
    plan = dc.plan(network, target_size=size, profile=PROFILE)
    dc.save_tensors(path, {**network.tensors, **plan.tensors}, plan.metadata, profile=PROFILE)
    return f"predicted {plan.file_bytes:,} bytes"
