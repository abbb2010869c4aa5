"""Room for the tensors at work."""

import threading

from deepcompression.budget import Budget


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
