"""Commands run in a folder with a checkpoint, a file of it, a damaged one and a recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cases import dense, shared
from typer.testing import CliRunner

from deepcompression.checkpoint import write_tensors
from deepcompression.cli import app
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.tensor import DenseTensor

TENSORS = {
    "fc1.weight": dense("I16", (6, 8)),
    "fc2.weight": DenseTensor("F32", np.linspace(-1, 1, 1200, dtype="<f4").reshape(30, 40)),
    "fc2.bias": DenseTensor("F32", np.linspace(-1, 1, 30, dtype="<f4")),
    "half.weight": shared(400, list(range(0, 400, 6)), 4, "BF16", (20, 20)).dense(),
    "scalar": DenseTensor("F64", np.array(3.0)),
}


def fill_folder():
    """Writes those files into the current folder."""
    write_tensors("m.safetensors", TENSORS, {"made by": "tests"})
    save_tensors("m.dcz", TENSORS, {"made by": "tests"})
    data = bytearray(Path("m.dcz").read_bytes())
    data[-1] ^= 1
    Path("damaged.dcz").write_bytes(data)
    Path("recipe.yaml").write_text(
        "rules: [{module: fc2, prune: {density: 0.25}, encode: {coder: sparse, gap_bits: 5}}]"
    )


def run(line):
    """Exit code, output and complaint, which is one line; notes and warnings are left out."""
    result = CliRunner().invoke(app, line.split())
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    complaint = [line for line in result.stderr.splitlines() if not line.startswith(("dcz: note: ", "dcz: warning: "))]
    if result.exit_code:
        assert len(complaint) == 1, result.stderr
        assert complaint[0].startswith("dcz: ")
    else:
        assert complaint == []
    return result.exit_code, result.stdout, "".join(complaint)


def refused(line, code, words):
    before = files()
    found, printed, complaint = run(line)
    assert (found, printed) == (code, "")
    assert words in complaint
    assert files() == before, "something was written"


def files():
    return {path: path.read_bytes() for path in Path.cwd().iterdir() if path.is_file()}
