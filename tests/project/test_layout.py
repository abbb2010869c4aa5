"""The import rule of docs/design.md, and torch, which only functions that take a model need."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from cases import dense, shared

import deepcompression as dc
from deepcompression.checkpoint import write_tensors
from deepcompression.cli.commands import COMMANDS, command

PACKAGE = Path(__file__).parents[2] / "src" / "deepcompression"

PAGE = (PACKAGE.parents[1] / "docs" / "design.md").read_text()


def rule_of(page):
    """Room -> the number of its line in the import rule; the rooms marked (T); those that use the core."""
    section = page.partition("\n## Import rule\n")[2].partition("\n## ")[0]
    lines = section.split("```")[1].split("\n")
    lines = [re.findall(r"(\w+)( \(T\))?", line) for line in lines[1:] if line]
    level = {room: number for number, line in enumerate(lines) for room, _ in line}
    core = re.search(r"Only these rooms use the core: ([^.]*)\.", section)
    assert core is not None
    return level, {room for line in lines for room, torch in line if torch}, set(re.findall(r"`(\w+)`", core[1]))


LEVEL, TORCH_ROOMS, CORE_ROOMS = rule_of(PAGE)


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
                # `from deepcompression import _core` imports a module, `from deepcompression.file.reader import
                # DczFile` a name
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


def room_of(module):
    return module.partition(".")[0]


def test_the_rule_names_every_room():
    assert set(LEVEL) == {room_of(module) for module in MODULES} - {"__init__", "__main__"}
    assert len(LEVEL) == 20


@pytest.mark.parametrize("module", MODULES)
def test_rooms_import_only_what_stands_in_a_line_above(module):
    room = room_of(module)
    for found in imports_of(FILES[module]):
        name = own(found.module)
        if name in (None, "_core") or room_of(name) == room:
            continue
        if room == "__main__":
            assert name == "cli", f"{module} imports {name}, but serves `python -m` alone"
        elif name == "__init__":
            assert room == "cli", f"{module} imports the package's face, which imports it"
        elif room != "__init__":
            assert LEVEL[room_of(name)] < LEVEL[room], f"{module} imports {name}, whose room does not stand above"
        else:
            assert room_of(name) != "cli"


def imported_by(module):
    """The modules that are imported with a module, directly and through others."""
    found, left = set(), [module]
    while left:
        for each in imports_of(FILES[left.pop()]):
            name = each.module if own(each.module) is None else own(each.module)
            if each.at_import and name not in found:
                found.add(name)
                left += [name] if name in FILES else []
    return found


def test_no_file_imports_one_that_imports_it():
    for module in MODULES:
        if FILES[module].name != "__init__.py":
            assert module not in imported_by(module), f"{module} imports itself through others"


@pytest.mark.parametrize("module", MODULES)
def test_torch_is_imported_only_in_rooms_marked_so(module):
    if room_of(module) not in TORCH_ROOMS and "torch" not in module:
        assert "torch" not in {name.partition(".")[0] for name in imported_by(module)}


def test_the_core_is_used_only_where_the_page_says():
    users = {room_of(m) for m in MODULES for found in imports_of(FILES[m]) if own(found.module) == "_core"}
    assert users == CORE_ROOMS


def test_no_module_hides_behind_another_object_of_its_name():
    for module in MODULES:
        room, _, name = module.rpartition(".")
        package = importlib.import_module(f"deepcompression.{room}".rstrip("."))
        found = getattr(package, name, None) if module != "__init__" else None
        assert found is None or isinstance(found, ModuleType), f"{package.__name__}.{name} is {found!r}"


@pytest.mark.parametrize("room", LEVEL)
def test_a_room_says_in_at_most_five_lines_what_it_is(room):
    said = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))
    assert said is not None
    assert len(said.splitlines()) <= 5
    assert "mports " in said, "it says what it may import"


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


IMPORTED = """
import sys
try:
    exec(sys.argv[1])
except SystemExit as end:
    assert not end.code
print(*sorted(sys.modules))
"""

TINY = "import sys; sys.argv[1:] = {line!r}.split(); from deepcompression.cli import main; main()"


def modules_after(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, code], cwd=folder, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def tops(modules):
    return {name.partition(".")[0] for name in modules}


def test_the_package_imports_nothing_until_a_name_is_used(tmp_path):
    found = modules_after("import deepcompression", tmp_path)
    assert {name for name in found if name.startswith("deepcompression")} == {
        "deepcompression",
        "deepcompression.common",
        "deepcompression.common.lazy_names",
    }
    assert not {"numpy", "pydantic", "rich", "typer", "yaml", "torch"} & tops(found)


def test_a_file_is_read_without_recipes_and_tables(tmp_path):
    assert not {"pydantic", "rich", "typer", "yaml", "torch"} & tops(
        modules_after("from deepcompression import load_tensors", tmp_path)
    )


def test_a_command_imports_what_it_needs_alone(tmp_path):
    dc.save_tensors(tmp_path / "m.dcz", {"fc.bias": dense("F32", (20,))})
    found = modules_after(TINY.format(line="inspect m.dcz --json"), tmp_path)
    rooms = {room_of(name.removeprefix("deepcompression.")) for name in found if name.startswith("deepcompression.")}
    assert rooms == {"_core", "checkpoint", "cli", "coding", "common", "delta", "file", "tensors"}
    assert not {"pydantic", "rich", "typer", "yaml", "torch"} & tops(found)


def test_a_table_is_printed_without_the_library_of_the_command_line(tmp_path):
    dc.save_tensors(tmp_path / "m.dcz", {"fc.bias": dense("F32", (20,))})
    found = modules_after(TINY.format(line="inspect m.dcz"), tmp_path)
    assert "rich.table" in found
    assert not {"pydantic", "typer", "yaml", "torch"} & tops(found)
    heavy = ("rich.markdown", "rich.progress", "rich.syntax", "pygments")
    assert not [name for name in found if name.startswith(heavy)]


def test_a_running_model_is_built_without_recipes_and_operators_for_compilers(tmp_path):
    code = "import torch, deepcompression as dc; dc.run(torch.nn.Linear(3, 2))"
    found = modules_after(code, tmp_path)
    assert "deepcompression.nn.build" in found
    assert not {"deepcompression.recipe.recipe", "deepcompression.nn.registered"} & found
    assert not {"pydantic", "rich", "typer", "yaml"} & tops(found)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_a_command_says_itself(name):
    said = " ".join(command(name).help.split("\n\n")[0].split())
    assert COMMANDS[name][1] == said
