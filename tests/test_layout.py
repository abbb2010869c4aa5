"""Which module knows which, and that torch is known only where a model is taken."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from cases import dense, shared

from deepcompression.checkpoint import write_tensors

PACKAGE = Path(__file__).parents[1] / "src" / "deepcompression"

# A module imports only what stands before it.
ORDER = [
    *("_core", "wire", "tensor", "slices", "account", "positions", "paper", "fast", "small", "deflate", "encode"),
    *("index", "file", "lock", "writer", "torch_tensor"),
    *(
        "checkpoint.base",
        "checkpoint.parts",
        "checkpoint.archive",
        "checkpoint.foreign",
        "checkpoint.safetensors",
        "checkpoint.state_dict",
        "checkpoint.protobuf",
    ),
    *("checkpoint.onnx_graph", "checkpoint.onnx_read", "checkpoint.onnx_write", "checkpoint.write", "checkpoint"),
    *("report", "grid", "packing", "convolve"),
    *("runtime.weights", "runtime.layers", "runtime.windows", "runtime.sequence", "runtime"),
    *("energy", "bench.results", "bench.engines", "bench.measure", "bench.table", "bench"),
    *("criteria", "codebook", "metric", "fit", "schedule", "targets", "rules", "recipe"),
    *("ranks", "sharded", "parametrizations", "parametrize", "model", "state"),
    *("prune", "retraining", "share", "budget", "streaming", "compress"),
    *("plain_many", "plain", "operators", "attention", "functions", "stand_in", "packed", "recurrent"),
    *("network", "watch", "torch_network", "onnx_parts", "onnx_uses", "onnx_network"),
    *("calibrate", "subject", "search", "plan"),
    *("uses", "sources", "assemble"),
    *("explanation", "inspection", "run"),
    *("integrations.stage", "integrations.transformers", "integrations.lightning", "integrations"),
    *("__init__", "cli.common", "cli.plan", "cli.convert", "cli.inspect", "cli.measure", "cli"),
]
# These are imported only by functions that are given a model.
TORCH_MODULES = {
    *("torch_tensor", "convolve", "sharded", "parametrizations", "parametrize", "model", "state"),
    *("plain_many", "plain", "operators", "attention", "functions", "stand_in", "packed", "recurrent"),
    *("uses", "sources", "assemble", "inspection", "watch", "torch_network"),
    *("integrations.stage", "integrations.transformers", "integrations.lightning"),
}


class Import(NamedTuple):
    module: str
    at_import: bool


def imports_of(path):
    """Every import in a file: at module level, inside functions, and those that only type checkers follow."""
    found = []

    def visit(node, at_import):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend(Import(alias.name, at_import) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path.name}:{child.lineno} is relative"
                # `from deepcompression import _core` imports a module, `from deepcompression.wire import text` a name
                whole = [f"{child.module}.{alias.name}" for alias in child.names]
                known = child.module == "deepcompression"
                modules = (name if known or own(name) in FILES else child.module for name in whole)
                found.extend(Import(module, at_import) for module in modules)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                visit(child, False)
            else:
                visit(child, at_import and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    visit(ast.parse(path.read_text()), True)
    return found


def own(module):
    """The name within the package, or None for a module of others."""
    package, _, name = module.partition(".")
    return (name or "__init__") if package == "deepcompression" else None


def files_of_modules():
    """The file of each module, by its name within the package; a folder's name stands for its __init__."""
    files = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in files.items()}


FILES = files_of_modules()
MODULES = sorted(FILES)


def test_the_order_names_every_module():
    assert sorted([*MODULES, "_core"]) == sorted(ORDER)


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_only_what_stands_before_them(module):
    before = ORDER[: ORDER.index(module)]
    for found in imports_of(FILES[module]):
        name = own(found.module)
        assert name is None or name in before, f"{module} imports {name}, which comes later"


@pytest.mark.parametrize("module", MODULES)
def test_torch_is_imported_only_where_a_model_is_taken(module):
    for found in imports_of(FILES[module]):
        if found.at_import and module not in TORCH_MODULES:
            assert found.module.partition(".")[0] != "torch"
            assert own(found.module) not in TORCH_MODULES


def test_the_core_is_told_only_where_it_is_needed():
    users = {m for m in MODULES for found in imports_of(FILES[m]) if own(found.module) == "_core"}
    coders = {"wire", "tensor", "positions", "paper", "fast", "small", "codebook", "criteria", "fit"}
    assert users <= coders | {"packing", "convolve", "bench.measure", "operators", "packed"}


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import deepcompression as dc
from deepcompression.cli import app
"""


def run(code, folder):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + code], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_whole_command_and_load_tensors_work_without_torch(tmp_path):
    weight = shared(600, list(range(0, 600, 7)), 4, shape=(20, 30)).dense()
    tensors = {"fc.weight": weight, "fc.bias": dense("F32", (20,))}
    write_tensors(tmp_path / "m.safetensors", tensors, {})
    done = run(
        """
for line in [
    "compress m.safetensors -o m.dcz",
    "compress m.safetensors -o lossy.dcz --density 0.1 --bits 3",
    "compress m.safetensors -o preset.dcz --recipe share-8bit",
    "inspect m.dcz --json",
    "verify m.dcz --against m.safetensors",
    "decompress m.dcz -o back.safetensors",
]:
    assert app(line.split(), standalone_mode=False) in (None, 0), line
arrays = dc.load_tensors("m.dcz")
assert sorted(arrays) == ["fc.bias", "fc.weight"], arrays
assert arrays["fc.weight"].shape == (20, 30)
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"m.dcz", "lossy.dcz", "preset.dcz", "back.safetensors"}


def test_a_model_function_without_torch_says_that_torch_is_missing(tmp_path):
    done = run('dc.load("m.dcz", into=None)', tmp_path)
    assert done.returncode != 0
    assert "torch" in done.stderr.splitlines()[-1]


def test_numbers_are_computed_by_the_core_and_not_by_a_fallback():
    from deepcompression import _core

    assert not str(_core.__file__).endswith(".py")
    assert np.array_equal(_core.code_lengths(np.array([1, 1], np.uint64)), [1, 1])
