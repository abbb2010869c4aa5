"""The effect of a compression: the change of the network's outputs, of its weights, and warnings where quality is lost.

A file's metadata hold the change of the outputs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from deepcompression.common.messages import listed, printable

# The metadata entry.
KEY = "change_of_outputs"

# Above these a warning says so. Below a change of the outputs of 0.1 six networks that others trained keep at least
# seven eighths of their scores, and just above it they lose up to a fifth (docs/results/real-models.md).
MOST_CHANGE_OF_OUTPUTS = 0.1
# A layer's own relative change, where no inputs measure the outputs: two bits for each weight, or half of them zero,
# change a normal distribution that much.
MOST_CHANGE_OF_WEIGHTS = 0.3
# The sparsest layers of the paper keep 4 %, with retraining.
LEAST_KEPT = 0.04

# A layer is named if the squared change of the outputs comes from it by this part.
_LARGE_PART = 0.1


@dataclass(frozen=True)
class OutputsChange:
    """The change ||y' - y|| / ||y|| of a network's outputs, as measured.

    change     of all floating-point outputs together; infinite where they are no longer finite, or of another shape
    inputs     the number of inputs that measured it
    held_back  whether these inputs were held back from calibration
    by_output  the change of each output, by its name; for an output of integers the part of them that differ
    """

    change: float
    inputs: int
    held_back: bool
    by_output: Mapping[str, float] = field(default_factory=dict)

    def metadata(self) -> dict[str, str]:
        """The entry of a file's metadata. Its length does not depend on the changes."""
        outputs = ", ".join(f"{json.dumps(name)}: {_fixed(change)}" for name, change in self.by_output.items())
        held_back = json.dumps(self.held_back)
        start = f'{{"change": {_fixed(self.change)}, "inputs": {self.inputs}, "held_back": {held_back}'
        return {KEY: f'{start}, "by_output": {{{outputs}}}}}'}

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> OutputsChange | None:
        """The change in the metadata of a file; None without an entry, and for one that is not sound."""
        if KEY not in metadata:
            return None
        # pydantic takes longer to import than a small file to read
        from deepcompression.file.stored_change import stored_change

        if (found := stored_change(metadata[KEY])) is None:
            return None
        outputs = {name: _or_infinite(change) for name, change in found.by_output.items()}
        return cls(_or_infinite(found.change), found.inputs, found.held_back, outputs)

    def __str__(self) -> str:
        inputs = f"{self.inputs} input" + ("s" if self.inputs > 1 else "")
        how = (
            f"measured on {inputs} held back from calibration"
            if self.held_back
            else f"measured on the calibration inputs themselves ({inputs}): none can be held back"
        )
        text = f"change of the outputs: {self.change:.4g}, {how}"
        if len(self.by_output) < 2:
            return text
        return f"{text}\nby output: {listed(_changes(self.by_output.items()), 20)}"


class WeightChange(NamedTuple):
    """The change of one weight.

    change  ||w' - w|| / ||w||
    kept    the weights that are not zero, as a part of those that were not
    part    the part of the squared change of the outputs that comes from it, by calibration's estimate; None without
            inputs
    """

    name: str
    change: float
    kept: float
    part: float | None = None


@dataclass(frozen=True)
class Effect:
    """The effect of a compression.

    weights  those that were pruned or shared
    outputs  the change of the outputs; None if no inputs measured it
    """

    weights: tuple[WeightChange, ...] = ()
    outputs: OutputsChange | None = None

    @property
    def change_of_outputs(self) -> float | None:
        """||y' - y|| / ||y|| of all outputs, on inputs held back from calibration; None without inputs."""
        return None if self.outputs is None else self.outputs.change

    @property
    def change_of_weights(self) -> float:
        """The root mean square of each weight's own ||w' - w|| / ||w||. It does not show how the outputs change."""
        return math.sqrt(sum(each.change**2 for each in self.weights) / max(1, len(self.weights)))

    @property
    def warnings(self) -> list[str]:
        """A text for each way in which quality is probably lost, with the names of layers."""
        found = []
        if self.outputs is not None:
            found += self._of_outputs(self.outputs)
        else:
            lost = [(each.name, each.change) for each in self.weights if each.change > MOST_CHANGE_OF_WEIGHTS]
            if lost:
                found.append(
                    f"weights changed by more than {MOST_CHANGE_OF_WEIGHTS:g} of themselves: "
                    f"{listed(_changes(_worst(lost)))}; their layers probably lose quality without retraining; measure "
                    "the outputs with calibration inputs"
                )
        few = sorted((each for each in self.weights if each.kept < LEAST_KEPT), key=lambda each: each.kept)
        if few:
            layers = listed(f"{printable(each.name)} keeps {_percent(each.kept)}" for each in few)
            found.append(f"few weights are left: {layers}; below {_percent(LEAST_KEPT)} a layer needs retraining")
        return found

    def _of_outputs(self, outputs: OutputsChange) -> list[str]:
        if math.isinf(outputs.change):
            return ["the outputs are no longer finite, or have another shape than before: the model is broken"]
        worst = _worst((name, each) for name, each in outputs.by_output.items() if each > MOST_CHANGE_OF_OUTPUTS)
        if not worst and outputs.change <= MOST_CHANGE_OF_OUTPUTS:
            return []
        which = "the outputs" if len(outputs.by_output) < 2 else "outputs"
        changes = listed(_changes(worst)) if len(outputs.by_output) > 1 else f"{outputs.change:.3g}"
        text = f"{which} changed by more than {MOST_CHANGE_OF_OUTPUTS:g}: {changes}; quality is probably lost"
        parts = _worst((each.name, each.part) for each in self.weights if (each.part or 0) >= _LARGE_PART)
        if parts:
            text += f"; most by {listed(f'{printable(name)} ({_percent(part)} of the change)' for name, part in parts)}"
        return [text]

    def metadata(self) -> dict[str, str]:
        """For the metadata of a file; empty without inputs."""
        return {} if self.outputs is None else self.outputs.metadata()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        own = {"change_of_weights": _or_none(self.change_of_weights), "warnings": self.warnings}
        return outputs_to_dict(self.outputs) | own

    def __str__(self) -> str:
        if self.outputs is not None:
            return str(self.outputs)
        return (
            f"change of the weights: {self.change_of_weights:.4g} (root mean square of each weight's own); the change "
            "of the outputs is unknown without calibration inputs"
        )


def outputs_to_dict(outputs: OutputsChange | None) -> dict[str, Any]:
    """A change of the outputs, or none, ready for JSON: a number that is not finite is None."""
    return {
        KEY: outputs and _or_none(outputs.change),
        "change_by_output": outputs and {name: _or_none(change) for name, change in outputs.by_output.items()},
        "measuring_inputs": outputs and outputs.inputs,
        "held_back": outputs and outputs.held_back,
    }


def without(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata without the change of the outputs, which holds for the weights that it was measured with alone."""
    return {key: value for key, value in metadata.items() if key != KEY}


def _fixed(number: float) -> str:
    """A number of JSON in ten characters."""
    if not number < 1e99:
        return "null      "
    return f"{number if number > 1e-99 else 0.0:.4e}"


def _or_none(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _or_infinite(number: float | None) -> float:
    return math.inf if number is None else number


def _worst(changes: Iterable[tuple[str, float | None]]) -> list[tuple[str, float]]:
    return sorted(((name, change or 0.0) for name, change in changes), key=lambda each: -each[1])


def _percent(part: float) -> str:
    return f"{100 * part:.2g} %" if part < 0.995 else "100 %"


def _changes(changes: Iterable[tuple[str, float]]) -> list[str]:
    return [f"{printable(name)} {change:.3g}" for name, change in changes]
