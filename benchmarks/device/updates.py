"""An update of LeNet-300-100 in place, on emulated boards: code, memory, and instructions.

The new network has a fifth of the codes moved to a neighbour, and other centroids.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import deepcompression as dc
from benchmarks.device.boards import BOARDS, BOARDS_OF, BUILT, DEVICE, LARGE, Board, build, link_size, run
from reproduce.experiment import RESULTS

SEED, MOVED = 0, 0.2

SOURCES = tuple(
    DEVICE / f"{name}.c"
    for name in ("patch", "patch_huffman", "patch_operations", "patch_recode", "patch_flash", "dcz")
)


def write_update(folder: Path) -> dc.PatchSizes:
    """old.dcz, new.dcz and patch.dcp."""
    generator = np.random.default_rng(SEED)
    old, new = {}, {}
    with dc.DczFile(RESULTS / "lenet-300-100.dcz") as file:
        for name in file:
            old[name] = new[name] = tensor = file.read(name)
            if isinstance(tensor, dc.CompressedTensor):
                steps = generator.choice([-1, 1], len(tensor.codes)) * (generator.random(len(tensor.codes)) < MOVED)
                codes = np.clip(tensor.codes + steps, 0, len(tensor.codebook) - 1).astype(np.uint8)
                codebook = tensor.codebook * np.float32(1.001)
                new[name] = dc.CompressedTensor.from_bits(tensor.shape, tensor.bits, codebook, codes, tensor.dtype)
    dc.save_tensors(folder / "old.dcz", old, profile="device")
    dc.save_tensors(folder / "new.dcz", new, profile="device")
    return dc.make_patch(folder / "old.dcz", folder / "new.dcz", folder / "patch.dcp")


def measure_updates(boards: tuple[Board, ...] = (LARGE, BOARDS_OF["M4F"], BOARDS_OF["RV32IMC"])) -> dict[str, Any]:
    """Bytes of files, code, stack and state, and instructions, by board."""
    found = {}
    for board in boards:
        folder = BUILT / board.name.replace("+", "plus")
        folder.mkdir(parents=True, exist_ok=True)
        sizes = write_update(folder)
        pages = -(-max(sizes.old_bytes, sizes.new_bytes) // 2048) + 2
        values = {
            **{"OLD_BYTES": sizes.old_bytes, "NEW_BYTES": sizes.new_bytes, "PATCH_BYTES": sizes.patch_bytes},
            **{"WORK_BYTES": sizes.work_bytes, "REGION_PAGES": pages},
        }
        flags = [f"-D{name}={value}" for name, value in values.items()]
        done = run(board, build(board, "update", [BOARDS / "update.c", *SOURCES], flags))
        found[board.name] = {
            "code": link_size(board, SOURCES, ["dcz_patch_flash"]),
            "instructions": done.counts[0],
            **done.numbers,
            **{name.lower(): value for name, value in values.items()},
        }
    return found


if __name__ == "__main__":
    import json

    print(json.dumps(measure_updates(), indent=1))
