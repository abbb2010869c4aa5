"""What is said without a package that only a part needs."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from deepcompression.common.extras import EXTRAS, named_extra

CALLS = [
    "dc.prune(None, 'share-8bit')",
    "dc.share(None, 'share-8bit')",
    "dc.compress(None, 'share-8bit')",
    "dc.finalize(None)",
    "dc.save(None, 'm.dcz')",
    "dc.load('m.dcz', into=None)",
    "dc.run(None)",
    "dc.explain(None)",
    "dc.resume(None, {}, 'share-8bit')",
    "dc.calibrate(None, 'share-8bit', [])",
    "dc.plan(object(), target_ratio=2)",
    "dc.sensitivity(object())",
    "dc.dead_neurons(None)",
    "from deepcompression.integrations.transformers import CompressionCallback",
    "from deepcompression.integrations.lightning import CompressionCallback",
]

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import deepcompression as dc

for call in sys.argv[1:]:
    try:
        exec(call)
    except ImportError as error:
        print(error)
    else:
        print(call, "did not fail")
"""


def test_without_torch_every_function_that_takes_a_model_names_the_extra():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *CALLS], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    said = "this needs the package torch, which is not installed: pip install 'deepcompression[torch]'"
    others = [line for line in done.stdout.splitlines() if line != said]
    assert others == []


def test_other_missing_modules_are_not_our_business():
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_package'"), named_extra():
        importlib.import_module("no_such_package")


def test_every_extra_is_one_of_the_project():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    distributions = {"pynvml": "nvidia-ml-py"}
    for package, extra in EXTRAS.items():
        name = distributions.get(package, package)
        assert any(needed.startswith(name) for needed in project["optional-dependencies"][extra])
