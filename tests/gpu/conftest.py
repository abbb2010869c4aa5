"""`make gpu-check` runs these tests: they need Triton.

TRITON_INTERPRET is 1 for its interpreter, 0 for its compiler.
"""

import os

import pytest

_IGNORED = {"1": ["test_compiled*"], "0": ["test_[!c]*"]}

collect_ignore_glob = _IGNORED.get(os.environ.get("TRITON_INTERPRET", ""), ["test_*"])


@pytest.fixture(autouse=True)
def guard():
    """No kernel that the interpreter runs may read or write outside of its tensors."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        yield
        return
    from guarded_memory import guarded

    with guarded():
        yield
