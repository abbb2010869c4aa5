"""The demo's model of ONNX: ddddocr made 8 times smaller, its characters, and pictures with the text in them.

    python -m browser.demo.make_models [FOLDER]

FOLDER is build/browser/models unless it is named; what lies there already is kept. The libraries are those of
benchmarks/requirements.txt. The model is compressed as by

    dcz compress common.onnx -o ddddocr.dcz --target-ratio 8 --calibration inputs.npz --profile small

with the calibration inputs of `python -m benchmarks.real_models ddddocr`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import deepcompression as dc
from benchmarks.environment import ROOT
from benchmarks.real_models.baselines import change
from benchmarks.real_models.network import Array
from benchmarks.real_models.ocr import Ocr
from benchmarks.real_models.ours import PROFILE
from deepcompression.calibration.goal import Goal
from deepcompression.convert.with_inputs import compress_whole

FOLDER = ROOT / "build" / "browser" / "models"
TIMES_SMALLER = 8
# of the pictures, which neither the calibration inputs nor those of the benchmark have
PICTURE_SEED, PICTURES = 3, 8


def read(characters: list[str], output: Array) -> str:
    """The text in one output: the largest class of each column, without repetitions and without CTC's blank."""
    classes = output.reshape(-1, output.shape[-1]).argmax(1)
    return "".join(characters[each] for each in classes[np.diff(classes, prepend=-1) != 0] if each)


def write_pictures(model: Ocr, path: Path, folder: Path) -> dict[str, Any]:
    """Writes the pictures as PNG; gives what each says, and what the network and the compressed one read there."""
    inputs = model.inputs(PICTURE_SEED, PICTURES)
    with dc.DczFile(path) as file:
        small = model.run({name: file.read(name) for name in file}, inputs.batches)
    original = model.run(model.tensors(), inputs.batches)
    characters = model.characters()
    pictures = []
    for at, batch in enumerate(inputs.batches):
        name = f"ddddocr-{at + 1}.png"
        pixels = np.rint(batch["input1"][0, 0] * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name, optimize=True)
        pictures.append(
            {
                "file": name,
                "text": inputs.truth[at],
                "original": read(characters, original[at]),
                "compressed": read(characters, small[at]),
            }
        )
    return {"change_of_outputs": change(small, original), "pictures": pictures, "characters": characters}


def make(folder: Path) -> Path:
    """Writes ddddocr.dcz, the pictures and, last of all, ddddocr.json into `folder`; gives the path of the JSON.

    Raises `UnavailableError` if pip cannot download the package.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model, path, about = Ocr(), folder / "ddddocr.dcz", folder / "ddddocr.json"
    if about.exists():
        return about
    if not path.exists():
        batches = model.calibration().batches
        with tempfile.TemporaryDirectory() as temporary:
            inputs = Path(temporary) / "inputs.npz"
            np.savez(inputs, **{name: np.concatenate([each[name] for each in batches]) for name in batches[0]})
            compress_whole(model.path(), path, Goal.of(None, TIMES_SMALLER, None), PROFILE, inputs)
    found = {
        "package": f"{model.release.name}=={model.release.version}",
        "checkpoint": model.member,
        "onnx_bytes": model.path().stat().st_size,
        "dcz_bytes": path.stat().st_size,
        "input": {"name": "input1", "shape": [1, 1, 64, 160], "values": "grey, 0 black to 1 white"},
        **write_pictures(model, path, folder),
    }
    about.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    return about


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    start = time.perf_counter()
    print(make(parser.parse_args().folder), f"{time.perf_counter() - start:.0f} s")
