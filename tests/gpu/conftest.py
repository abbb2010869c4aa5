"""Kernels run in Triton's interpreter if TRITON_INTERPRET is set; otherwise they are compiled, without a GPU."""

import os

collect_ignore_glob = ["test_compiled*"] if os.environ.get("TRITON_INTERPRET") else ["test_[!c]*"]
