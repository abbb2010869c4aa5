"""Room for the tensors at work."""

import threading

import pytest

from deepcompression.checkpoint import TensorEntry
from deepcompression.convert.memory_budget import Budget, Need


def test_no_more_is_at_work_than_there_is_room_for_but_the_largest_alone_always_is():
    budget = Budget(100)
    budget.take(150)
    taken = threading.Event()

    def wait():
        budget.take(60)
        taken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    budget.give_back(100)
    assert not taken.is_set()
    budget.give_back(10)
    thread.join()
    budget.take(0)
    budget.give_back(60)


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_coders_that_take_positions_are_given_room_for_them(dtype):
    entry = TensorEntry("a", dtype, (1 << 20,))
    plain, paper = Need.of(entry), Need.of(entry, positions=True)
    assert paper.shared - plain.shared == 14 << 20
    assert paper.first >= paper.shared
