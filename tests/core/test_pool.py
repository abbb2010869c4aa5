"""Threads that share a product: two callers at once, and after a fork."""

import os
import sys
import threading

import numpy as np
import pytest
import window_twin as twin

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
