"""Threads that share products and decoding: several callers at once, after a fork, after refused bytes."""

import os
import sys
import threading

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
