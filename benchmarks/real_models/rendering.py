"""Images drawn with Pillow from a seed: lines of text, scenes of shapes and textures, heads as a scanner shows them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Pixels = NDArray[np.uint8]
Random = np.random.Generator

FONT_PACKAGES = ("font_roboto", "font_source_sans_pro", "font_source_serif_pro", "font_caladea")
# A font's file does not say its style: these are upright ones.
STYLES = ("Regular", "Bold", "Medium", "Light", "SemiBold", "Semibold")
# without what many fonts draw alike: 0 O o, 1 I l, and so on
CHARACTERS = "ABDEFGHKLMNPRTYabdefghkmnpqrty23456789"
TEXT_SIZE = (160, 64)


@cache
def fonts() -> tuple[str, ...]:
    """Files of upright fonts out of packages of requirements.txt, sorted. Raises ImportError if one is missing."""
    found: list[Path] = []
    for package in FONT_PACKAGES:
        folder = Path(str(importlib.import_module(package).__file__)).parent / "files"
        found += [path for path in folder.glob("*.ttf") if path.stem.rpartition("-")[2] in STYLES]
    return tuple(map(str, sorted(found, key=lambda path: path.name)))


def grey(rng: Random, low: int, high: int) -> tuple[int, int, int]:
    """A colour near a grey between two brightnesses."""
    centre = rng.integers(low, high)
    red, green, blue = np.clip(centre + rng.integers(-25, 26, 3), 0, 255)
    return int(red), int(green), int(blue)


def noisy(image: Image.Image, deviation: float, rng: Random) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    return Image.fromarray(np.clip(pixels + rng.normal(0, deviation, pixels.shape), 0, 255).astype(np.uint8))


def text(rng: Random) -> tuple[Pixels, str]:
    """4 to 6 characters in one font on a light ground, slightly turned, with lines and noise: grey (64, 160)."""
    word = "".join(rng.choice(list(CHARACTERS), rng.integers(4, 7)))
    image = Image.new("RGB", TEXT_SIZE, grey(rng, 195, 245))
    draw = ImageDraw.Draw(image)
    font = ImageFont.truetype(str(rng.choice(fonts())), int(rng.integers(28, 41)))
    left, top, right, bottom = draw.textbbox((0, 0), word, font=font)
    if right - left > TEXT_SIZE[0] - 12:
        font = font.font_variant(size=int(font.size * (TEXT_SIZE[0] - 12) / (right - left)))
        left, top, right, bottom = draw.textbbox((0, 0), word, font=font)
    x = rng.uniform(4, max(5, TEXT_SIZE[0] - 4 - (right - left))) - left
    y = rng.uniform(4, max(5, TEXT_SIZE[1] - 4 - (bottom - top))) - top
    draw.text((x, y), word, font=font, fill=grey(rng, 10, 110))
    for _ in range(rng.integers(0, 3)):
        ends = (*rng.uniform(0, TEXT_SIZE[0], 2), *rng.uniform(0, TEXT_SIZE[1], 2))
        draw.line((ends[0], ends[2], ends[1], ends[3]), fill=grey(rng, 90, 190), width=1)
    image = image.rotate(float(rng.uniform(-4, 4)), Image.Resampling.BICUBIC, fillcolor=image.getpixel((0, 0)))
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 0.8))))
    return np.asarray(noisy(image, float(rng.uniform(0, 12)), rng).convert("L")), word


def _colour(rng: Random) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3)
    return int(red), int(green), int(blue)


def _gradient(side: int, rng: Random) -> Image.Image:
    rows, columns = np.mgrid[0:side, 0:side] / side
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * rows + np.sin(angle) * columns
    along = ((along - along.min()) / np.ptp(along))[..., None]
    return Image.fromarray((along * _colour(rng) + (1 - along) * _colour(rng)).astype(np.uint8))


def _stripes(side: int, rng: Random) -> Image.Image:
    rows, columns = np.mgrid[0:side, 0:side] / side
    angle, waves = rng.uniform(0, np.pi), rng.uniform(3, 40)
    wave = np.sin(2 * np.pi * waves * (np.cos(angle) * rows + np.sin(angle) * columns))
    if rng.random() < 0.4:
        wave = wave * np.sin(2 * np.pi * waves * (np.sin(angle) * rows - np.cos(angle) * columns))
    part = ((1 + wave) / 2)[..., None]
    return Image.fromarray((part * _colour(rng) + (1 - part) * _colour(rng)).astype(np.uint8))


def _clouds(side: int, rng: Random) -> Image.Image:
    total = np.zeros((side, side, 3), np.float32)
    for octave in range(1, 7):
        cells = rng.uniform(0, 1, (2**octave, 2**octave, 1 if rng.random() < 0.7 else 3))
        small = Image.fromarray((np.broadcast_to(cells, (*cells.shape[:2], 3)) * 255).astype(np.uint8))
        total += np.asarray(small.resize((side, side), Image.Resampling.BICUBIC), np.float32) / 2**octave
    part = (total - total.min()) / np.ptp(total)
    return Image.fromarray((part * _colour(rng) + (1 - part) * _colour(rng)).astype(np.uint8))


_GROUNDS: tuple[Callable[[int, Random], Image.Image], ...] = (_gradient, _stripes, _clouds)


def _shape(draw: Any, side: int, rng: Random) -> None:
    centre, size = rng.uniform(0.1, 0.9, 2) * side, rng.uniform(0.06, 0.35, 2) * side
    box = [*(centre - size), *(centre + size)]
    colour, outline = _colour(rng), _colour(rng)
    kind, width = rng.integers(0, 6), int(rng.integers(1, 8))
    if kind == 0:
        draw.ellipse(box, fill=colour, outline=outline, width=width)
    elif kind == 1:
        draw.rounded_rectangle(box, radius=float(rng.uniform(0, min(size))), fill=colour, outline=outline, width=width)
    elif kind == 2:
        corners = int(rng.integers(3, 9))
        draw.regular_polygon((*centre, float(size[0])), corners, rotation=float(rng.uniform(0, 360)), fill=colour)
    elif kind == 3:
        start = float(rng.uniform(0, 360))
        draw.pieslice(box, start, start + float(rng.uniform(30, 330)), fill=colour, outline=outline)
    elif kind == 4:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(6, 20))))
        reach = rng.uniform(0.3, 1, len(angles))[:, None] * size
        points = centre + reach * np.stack([np.cos(angles), np.sin(angles)], 1)
        draw.polygon([tuple(point) for point in points], fill=colour, outline=outline)
    else:
        font = ImageFont.truetype(str(rng.choice(fonts())), int(size[0]) + 8)
        draw.text(tuple(centre), "".join(rng.choice(list(CHARACTERS), rng.integers(1, 6))), font=font, fill=colour)


def scene(side: int, rng: Random) -> Pixels:
    """Shapes and words, some of them with a texture, on a gradient, stripes or clouds: (side, side, 3)."""
    image = _GROUNDS[rng.integers(0, len(_GROUNDS))](side, rng)
    for _ in range(rng.integers(1, 9)):
        if rng.random() < 0.4:
            mask = Image.new("L", (side, side))
            draw = ImageDraw.Draw(mask)
            centre, size = rng.uniform(0.2, 0.8, 2) * side, rng.uniform(0.08, 0.4, 2) * side
            draw.ellipse([*(centre - size), *(centre + size)], fill=255)
            image.paste(_GROUNDS[rng.integers(0, len(_GROUNDS))](side, rng), (0, 0), mask)
        else:
            _shape(ImageDraw.Draw(image), side, rng)
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 1.5))))
    return np.asarray(noisy(image, float(rng.uniform(0, 10)), rng))
