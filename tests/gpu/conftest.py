"""`make gpu-check` runs these tests: they need Triton.

TRITON_INTERPRET is 1 for its interpreter, 0 for its compiler.
"""

import os

_IGNORED = {"1": ["test_compiled*"], "0": ["test_[!c]*"]}

collect_ignore_glob = _IGNORED.get(os.environ.get("TRITON_INTERPRET", ""), ["test_*"])
