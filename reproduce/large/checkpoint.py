"""The state of a job in a file that is replaced as a whole; the job resumes from it, or refuses other settings."""

from __future__ import annotations

import os
import pickle
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

State = dict[str, Any]
Settings = dict[str, Any]

_VERSION = 1


@dataclass
class Progress:
    """The `phase` in training, and how many `step`s of it are done (0: it has not begun). `stages` are the results of
    finished phases.
    """

    phase: int = 0
    step: int = 0
    stages: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """The state of a job: its settings and phases; tensors of model, optimizer and scaler."""

    progress: Progress
    settings: Settings
    phases: list[Settings]
    model: State
    optimizer: State | None
    scaler: State | None

    def write(self, path: Path) -> None:
        """Replaces an earlier one, which stays if this one cannot be written."""
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("wb") as file:
            torch.save(
                {
                    "version": _VERSION,
                    "progress": vars(self.progress),
                    "settings": self.settings,
                    "phases": self.phases,
                    "model": self.model,
                    "optimizer": self.optimizer,
                    "scaler": self.scaler,
                },
                file,
            )
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Raises ValueError for a damaged file, or one of another kind."""
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
            if found["version"] != _VERSION:
                raise ValueError(f"version {found['version']}, expected {_VERSION}")
            parts = (found[name] for name in ("settings", "phases", "model", "optimizer", "scaler"))
            return cls(Progress(**found["progress"]), *parts)
        except (
            RuntimeError,
            ValueError,
            KeyError,
            TypeError,
            EOFError,
            pickle.UnpicklingError,
            zipfile.BadZipFile,
        ) as e:
            raise ValueError(
                f"{path} is no checkpoint of this job, or damaged ({(str(e) or type(e).__name__).splitlines()[0]}); "
                "delete it to start over"
            ) from None

    def check(self, path: Path, settings: Settings, phases: list[Settings]) -> None:
        """Raises ValueError that names every changed setting, of the whole job or of a phase that has begun. Phases to
        come may change.
        """
        begun = self.progress.phase + (self.progress.step > 0)
        differences = _differences("", self.settings, settings)
        if begun > len(phases):
            differences.append(f"it has begun {begun} phases, there are {len(phases)} now")
        for was, now in zip(self.phases[:begun], phases, strict=False):
            differences += _differences(f"{was['name']}: ", was, now)
        if differences:
            raise ValueError(
                f"{path} was made with other settings: {'; '.join(differences)}; give the same ones to resume, "
                "or another --out to start over"
            )


def _differences(where: str, was: Settings, now: Settings) -> list[str]:
    return [
        f"{where}{name} was {was.get(name)}, is {now.get(name)}"
        for name in dict.fromkeys([*was, *now])
        if was.get(name) != now.get(name)
    ]
