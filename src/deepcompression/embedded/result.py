"""What an export gives: sizes, the way each layer is held, and what int8 changes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepcompression.common.messages import aligned, counted


@dataclass(frozen=True)
class LayerOfExport:
    """One weight of the network.

    bytes    in flash: of its payload in the `.dcz` file, or of its pairs, counts and codebook
    density  of what is multiplied: int8 rounds small weights to zero
    """

    name: str
    operator: str
    shape: tuple[int, int]
    way: str
    bytes: int
    density: float


@dataclass(frozen=True)
class OutputChange:
    """What int8 changes, on inputs that chose no scale.

    change  ||int8 - float32|| / ||float32|| of the outputs
    same    the part of the inputs whose largest output stays the largest
    """

    change: float
    same: float
    inputs: int


@dataclass(frozen=True)
class Exported:
    """An exported network.

    files          names in the directory
    arena_bytes    of activations; `work_bytes` of one layer at work, which takes what they leave free. Together they
                   are `memory_bytes`, beside a few pointers
    flash_bytes    of weights and constants; of those `weights_bytes` are the `.dcz` file
    outputs        None in float32
    notes          what was folded, dropped, inferred, or held otherwise than asked
    """

    name: str
    directory: Path
    files: tuple[str, ...]
    arithmetic: str
    arena_bytes: int
    work_bytes: int
    memory_bytes: int
    flash_bytes: int
    weights_bytes: int
    layers: tuple[LayerOfExport, ...]
    outputs: OutputChange | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same in types that JSON has."""
        return asdict(self) | {"directory": str(self.directory)}

    def __str__(self) -> str:
        rows = [("weight", "operator", "shape", "held", "bytes", "density")]
        for each in self.layers:
            shape = "x".join(map(str, each.shape))
            rows.append((each.name, each.operator, shape, each.way, f"{each.bytes:,}", f"{100 * each.density:.3g}%"))
        lines = [
            f"{self.name} in {self.arithmetic}: {counted(len(self.files), 'file')} in {self.directory}",
            aligned(rows),
            f"flash: {self.flash_bytes:,} bytes of weights and constants, {self.weights_bytes:,} of them coded; code "
            "comes on top",
            f"memory: {self.memory_bytes:,} bytes for {self.arena_bytes:,} of activations and up to "
            f"{self.work_bytes:,} of a layer at work; the stack comes on top",
        ]
        if self.outputs is not None:
            lines.append(
                f"int8 changes the outputs by {100 * self.outputs.change:.3g}%, and keeps the largest one for "
                f"{100 * self.outputs.same:.4g}% of {counted(self.outputs.inputs, 'input')} that chose no scale"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])
