"""The instruction set of the kernels: the best, the environment's, or a forced one."""

import os
import subprocess
import sys

import pytest

from deepcompression import _core

SETS = _core.instruction_sets()


def in_a_new_process(cpu, code):
    environment = os.environ | {"DEEPCOMPRESSION_CPU": cpu}
    program = "import numpy as np\nfrom deepcompression import _core\n" + code
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", SETS)
def test_the_environment_names_an_instruction_set(name):
    done = in_a_new_process(name, "print(_core.instruction_set())")
    assert done.stdout == f"{name}\n", done.stderr


def test_an_empty_name_in_the_environment_means_the_best():
    assert in_a_new_process("", "print(_core.instruction_set())").stdout == f"{SETS[-1]}\n"


def test_an_unknown_instruction_set_in_the_environment_is_named_where_it_is_first_needed():
    done = in_a_new_process(
        "mmx", "_core.decode_block(_core.encode_block(np.arange(70000).astype('u1') % 9), 0, 70000)"
    )
    said = f"DEEPCOMPRESSION_CPU asks for the instruction set 'mmx', but this CPU and build have {', '.join(SETS)}"
    assert done.stderr.splitlines()[-1] == f"ValueError: {said}"


def test_an_instruction_set_can_be_forced_and_freed_again():
    usual = _core.instruction_set()
    for name in SETS:
        _core.force_instruction_set(name)
        assert _core.instruction_set() == name
    _core.force_instruction_set("")
    assert _core.instruction_set() == usual


def test_an_unknown_instruction_set_cannot_be_forced():
    usual = _core.instruction_set()
    with pytest.raises(
        ValueError, match="the caller asks for the instruction set 'neon2', but this CPU and build have"
    ):
        _core.force_instruction_set("neon2")
    assert _core.instruction_set() == usual


def test_portable_kernels_are_always_there():
    assert SETS[0] == "portable"
