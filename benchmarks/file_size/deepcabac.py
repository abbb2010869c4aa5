"""Codes integer levels by DeepCABAC with the settings that make them smallest; runs in nncodec's own environment.

`python deepcabac.py LEVELS.npy` prints JSON: the bytes of the coded levels alone, without header or codebook, and the
settings. A setting whose bytes do not decode to the same levels does not count.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def load_coder() -> Any:
    """nncodec's compiled coder alone: the package around it imports torch, which coding does not need."""
    found = importlib.machinery.PathFinder.find_spec("nncodec")
    assert found is not None
    assert found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0]) / "extensions"
    (path,) = folder.glob("deepCABAC*.so")
    spec = importlib.util.spec_from_file_location("deepCABAC", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Settings = dict[str, int]

# The first is nncodec's default. Dependent quantisation stays off: it changes levels.
#   optimise  adaptation rates are chosen and sent
#   codebook  the greatest level is known
#   scan      by rows, or by blocks of 8 to 64
#   unary     flags "greater than" before the Golomb code
CHOICES: dict[str, tuple[int, ...]] = {
    "optimise": (1, 0),
    "codebook": (0, 1),
    "row_skip": (1, 0),
    "scan": (0, 1, 2, 3, 4),
    "unary": (11, 1, 2, 3, 4, 5, 6, 8, 14, 17, 24, 32, 48, 64, 96, 128, 192, 255),
}


class Levels:
    """A tensor of levels, 0 where nothing survives, and its coded forms."""

    def __init__(self, levels: Any) -> None:
        self.module = load_coder()
        self.off = (self.module.HdspMode.AlwaysOff, np.zeros(2, np.int8))
        self.levels = np.ascontiguousarray(levels, np.int32)
        self.empty_rows = (~self.levels.reshape(len(levels), -1).any(1)).astype(np.int32)
        self.codebook = (int(levels.max()) - int(levels.min()) + 1, -int(levels.min()))

    def encode(self, settings: Settings) -> Any:
        encoder = self.module.Encoder()
        encoder.initCtxModels(settings["unary"], settings["optimise"])
        codebook = self.codebook if settings["codebook"] else (0, 0)
        common = (0, settings["scan"], 1, 0, settings["row_skip"])
        encoder.encodeLayer(self.levels, *common, self.empty_rows, *self.off, *codebook)
        return encoder.finish()

    def returns(self, data: Any, settings: Settings) -> bool:
        """Whether the bytes give the levels back: nncodec's decoder fails at some settings."""
        decoder = self.module.Decoder()
        decoder.setStream(data)
        decoder.initCtxModels(settings["unary"])
        codebook = self.codebook if settings["codebook"] else (0, 0)
        decoded = np.zeros_like(self.levels)
        # blocks can be entered anywhere; without a list of the entries the decoder must make one
        decode = decoder.decodeLayerAndCreateEPs if settings["scan"] else decoder.decodeLayer
        try:
            decode(decoded, 0, settings["scan"], 1, 0, *self.off, *codebook)
            decoder.finish()
        except RuntimeError:
            return False
        return np.array_equal(decoded, self.levels)


def smallest(levels: Any) -> tuple[int, Settings]:
    """Bytes and settings: each setting in turn, given the best of the others; twice for all but the largest tensors."""
    tensor = Levels(levels)
    settings = {name: choices[0] for name, choices in CHOICES.items()}
    greatest = int(max(levels.max(), -levels.min()))
    data = tensor.encode(settings)
    if not tensor.returns(data, settings):
        raise ValueError("the levels come back changed")
    best, tried = len(data), {tuple(settings.values())}
    for _ in range(2 if levels.size < 1 << 22 else 1):
        for name, choices in CHOICES.items():
            for choice in choices:
                changed = settings | {name: choice}
                if (name == "unary" and choice > greatest + 2) or tuple(changed.values()) in tried:
                    continue
                tried.add(tuple(changed.values()))
                data = tensor.encode(changed)
                if len(data) < best and tensor.returns(data, changed):
                    best, settings = len(data), changed
    return best, settings


if __name__ == "__main__":
    size, chosen = smallest(np.load(sys.argv[1]))
    print(json.dumps({"bytes": size, "settings": chosen}))
