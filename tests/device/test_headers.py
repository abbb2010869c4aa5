"""Headers of the C source: one program may include all of them, and the header of the library for C beside them."""

import os
import subprocess
from pathlib import Path

import device_c
import pytest

INCLUDE = Path(__file__).parents[2] / "include"
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror", "-fsyntax-only")


@pytest.mark.parametrize(
    ("compiler", "language", "standard"),
    [(device_c.CC, "c", "c99"), (os.environ.get("CXX", "c++"), "c++", "c++11")],
    ids=["c", "c++"],
)
def test_all_headers_go_together(compiler, language, standard):
    headers = [*INCLUDE.glob("*.h"), *device_c.DEVICE.glob("*.h"), *device_c.DEVICE.glob("full/*.h")]
    assert len(headers) > 20
    text = "".join(f'#include "{header}"\n' for header in sorted(headers))
    command = [compiler, "-x", language, f"-std={standard}", *WARNINGS, "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
