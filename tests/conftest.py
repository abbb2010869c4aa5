"""Options of the tests."""

import os
from collections.abc import Iterator

import pytest

from benchmarks.tensors import SQUEEZENET, squeezenet
from deepcompression import _core
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor

# printed tables obey it, and pytest-xdist sets it
os.environ.pop("COLUMNS", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-golden", action="store_true", help="rewrite tests/golden; only after a change of the format"
    )


@pytest.fixture
def write_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--write-golden"))


@pytest.fixture
def released_squeezenet() -> dict[str, CompressedTensor | DenseTensor]:
    """The file of the paper's author: we may not ship it, so tests of it run where it lies beside the project."""
    if not SQUEEZENET.exists():
        pytest.skip(f"{SQUEEZENET.name} is its author's and not part of the project: put it at {SQUEEZENET}")
    return squeezenet()


@pytest.fixture(params=_core.instruction_sets())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set of this CPU and build, forced in turn."""
    _core.force_instruction_set(request.param)
    yield request.param
    _core.force_instruction_set("")
