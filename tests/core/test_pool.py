"""Threads that share products and decoding: several callers at once, after a fork, after refused bytes."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import window_twin as twin

from deepcompression import _core
from deepcompression.packed import multiply, packing


def layer():
    packed, _ = twin.pack(np.random.default_rng(4).random((900, 1000)) < 0.3, 16, 8, "by_row")
    # below 4096 pairs of 3 vectors a second thread is not worth it
    assert 3 * packing.header(packed).length > 4096
    return packed, np.random.default_rng(5).standard_normal((3, 1000)).astype(np.float32)


def test_two_callers_at_once_get_what_each_alone_gets():
    packed, x = layer()
    expected = multiply.matmul(packed, x)
    wrong = []

    def call():
        for _ in range(100):
            if not np.array_equal(multiply.matmul(packed, x, threads=2), expected):
                wrong.append(threading.current_thread().name)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX forks")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    packed, x = layer()
    expected = multiply.matmul(packed, x, threads=2)
    child = os.fork()
    if child == 0:
        same = np.array_equal(multiply.matmul(packed, x, threads=2), expected)
        sys.stdout.flush()
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(multiply.matmul(packed, x, threads=2), expected)


def test_products_and_blocks_share_the_threads_at_once():
    packed, x = layer()
    product = multiply.matmul(packed, x)
    symbols = (np.arange(7 * 2**20) % 11).astype(np.uint8)
    block = _core.encode_block(symbols)
    wrong = []

    def call(right):
        for _ in range(5):
            if not right():
                wrong.append(threading.current_thread().name)

    def product_is_right():
        return np.array_equal(multiply.matmul(packed, x, threads=3), product)

    def block_is_right():
        return np.array_equal(_core.decode_block(block, 0, len(symbols), threads=3)[0], symbols)

    callers = [threading.Thread(target=call, args=[right]) for right in 2 * (product_is_right, block_is_right)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.parametrize("damaged", [0.3, 0.6, 0.9])
def test_an_error_of_one_thread_reaches_the_caller_and_the_threads_stay_usable(damaged):
    symbols = (np.arange(7 * 2**20) % 11).astype(np.uint8)
    block = _core.encode_block(symbols)
    at = int(damaged * len(block))
    # the shortest code, over and over: the segment does not use its bytes up
    wrong = block[:at] + bytes(9999) + block[at + 9999 :]
    for _ in range(5):
        with pytest.raises(_core.FormatError, match="whose bytes are not those of their symbols"):
            _core.decode_block(wrong, 0, len(symbols), threads=3)
        assert np.array_equal(_core.decode_block(block, 0, len(symbols), threads=3)[0], symbols)


def products(layer_and_x, threads, times=30):
    """Whether so many products are those of one thread."""
    packed, x = layer_and_x
    expected = multiply.matmul(packed, x)
    return all(np.array_equal(multiply.matmul(packed, x, threads=threads), expected) for _ in range(times))


@pytest.mark.parametrize("threads", [2, 3, 7, 64, 10_000])
def test_more_threads_than_cores_and_items_give_the_same_bits(threads):
    assert products(layer(), threads)


# A process of its own: torch is loaded there or not, before the core or after it.
PROCESS = """
import os, threading
{before}
import test_pool
def threads():
    return len(os.listdir("/proc/self/task"))
{after}
"""


def in_a_process(before="", after="", environment=None):
    """Runs lines in a new process. Returns what they print."""
    folder = str(Path(__file__).parent)
    paths = os.pathsep.join([folder, *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", PROCESS.format(before=before, after=after)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONPATH": paths, **(environment or {})},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


COMPUTES = """
import torch
torch.set_num_threads(2)
a = torch.ones(1 << 20)
def both():
    (a + a).sum()
    assert test_pool.products(test_pool.layer(), 2, 3)
both()
"""


linux = pytest.mark.skipif(sys.platform != "linux", reason="torch's threads are found on Linux alone")


@linux
def test_where_torch_computes_its_threads_do_and_no_others():
    torch_alone = "import torch\ntorch.set_num_threads(2)\n(torch.ones(1 << 20) + 1).sum()"
    in_a_process(torch_alone, "alone = threads()\n" + COMPUTES + "assert threads() == alone, (alone, threads())")


@linux
def test_torch_may_be_loaded_later_by_several_callers_with_other_numbers_of_threads_and_before_a_fork():
    in_a_process(
        after="assert test_pool.products(test_pool.layer(), 2)"
        + COMPUTES
        + """
wrong = []
def call():
    for number in (2, 3, 2, 4):
        (a * 2).sum()
        if not test_pool.products(test_pool.layer(), number, 5):
            wrong.append(number)
each = [threading.Thread(target=call) for _ in range(3)]
for caller in each: caller.start()
for caller in each: caller.join()
assert not wrong
for number in (1, 2, 3):
    torch.set_num_threads(number)
    both()
child = os.fork()
if child == 0:
    os._exit(0 if test_pool.products(test_pool.layer(), 2) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
both()
"""
    )


@linux
def test_a_team_of_fewer_threads_than_asked_for_gives_the_same_bits():
    in_a_process("import torch", COMPUTES, {"OMP_THREAD_LIMIT": "1", "OMP_WAIT_POLICY": "passive"})


@linux
def test_products_within_a_region_of_torch_and_in_workers_of_its_loader_are_those_of_one_thread():
    in_a_process(
        "import torch",
        COMPUTES
        + """
class Products(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, number):
        torch.set_num_threads(2)
        return test_pool.products(test_pool.layer(), 2, 2)
loader = torch.utils.data.DataLoader(Products(), num_workers=2, multiprocessing_context="fork")
assert all(bool(right) for right in loader)
import ctypes
openmp = ctypes.CDLL(os.path.join(torch.__path__[0], "lib", "libtorch_cpu.so"))
right = []
@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def member(context):
    right.append((openmp.omp_in_parallel(), test_pool.products(test_pool.layer(), 2, 2)))
openmp.GOMP_parallel(member, None, 2, 0)
assert right == [(1, True), (1, True)], right
both()
""",
    )


@linux
def test_no_thread_keeps_another_mask_than_it_had():
    in_a_process(
        "import torch",
        COMPUTES
        + """
def masks():
    return {int(task): os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")}
given = masks()
for _ in range(5):
    both()
assert masks() == given, (given, masks())
""",
    )
