"""Schedules of pruning: each compared with its formula."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from deepcompression.pruning.schedule import Gradual, OneShot, Rounds, Schedule

SCHEDULES = get_args(get_args(Schedule)[0])

EXAMPLES = {
    OneShot: [OneShot()],
    Rounds: [Rounds(rounds=1), Rounds(rounds=5)],
    Gradual: [
        Gradual(end=1),
        Gradual(end=10),
        Gradual(begin=3, end=20, every=4),
        Gradual(begin=2, end=9, every=100),
        Gradual(end=7, geometric=True),
    ],
}
ALL = [pytest.param(schedule, id=repr(schedule)) for examples in EXAMPLES.values() for schedule in examples]


def test_every_schedule_has_examples():
    assert set(EXAMPLES) == set(SCHEDULES)


@pytest.mark.parametrize("schedule", ALL)
@pytest.mark.parametrize(("start", "target"), [(1.0, 0.05), (1.0, 0.0), (1.0, 1.0), (0.0, 1.5)])
def test_the_target_is_reached_exactly_at_the_last_step(schedule, start, target):
    assert schedule.due(schedule.last_step)
    assert schedule.amount(start, target, schedule.last_step) == target


@pytest.mark.parametrize("schedule", ALL)
def test_nothing_is_due_after_the_last_step(schedule):
    assert not any(schedule.due(step) for step in range(schedule.last_step + 1, schedule.last_step + 50))


@pytest.mark.parametrize("schedule", ALL)
@given(target=st.floats(0, 1))
def test_density_never_rises(schedule, target):
    amounts = [schedule.amount(1.0, target, step) for step in range(schedule.last_step + 5)]
    assert all(0 <= later <= sooner <= 1 for sooner, later in pairwise(amounts))


def test_one_shot_is_due_before_any_step():
    assert OneShot().due(0)
    assert OneShot().amount(1.0, 0.1, 0) == 0.1


def test_rounds_multiply_the_density_by_the_same_factor():
    schedule = Rounds(rounds=3)
    assert [schedule.due(step) for step in range(4)] == [True, True, True, False]
    assert [schedule.amount(1.0, 0.125, step) for step in range(3)] == pytest.approx([0.5, 0.25, 0.125])


def test_rounds_add_the_same_to_a_quality():
    assert [Rounds(rounds=4).amount(0.0, 2.0, step) for step in range(4)] == [0.5, 1.0, 1.5, 2.0]


def test_gradual_follows_the_cubic_formula():
    """Zhu and Gupta, equation 1: s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3, of sparsities s = 1 - density."""
    schedule = Gradual(begin=10, end=110, every=5)
    for step in range(10, 111, 5):
        sparsity = 0.9 + (0.0 - 0.9) * (1 - (step - 10) / (20 * 5)) ** 3
        assert schedule.amount(1.0, 1 - 0.9, step) == pytest.approx(1 - sparsity)


def test_geometric_gradual_follows_the_same_curve_in_the_logarithm():
    schedule = Gradual(begin=10, end=110, geometric=True)
    for step in range(10, 111):
        way = 1 - (1 - (step - 10) / 100) ** 3
        assert math.log(schedule.amount(1.0, 0.02, step)) == pytest.approx(way * math.log(0.02))


@pytest.mark.parametrize(("start", "target"), [(0.0, 1.5), (1.0, 0.0)])
def test_amounts_from_or_to_zero_change_linearly(start, target):
    for step in range(12):
        plain = Gradual(end=10).amount(start, target, step)
        assert Gradual(end=10, geometric=True).amount(start, target, step) == plain


def test_gradual_prunes_every_few_steps_and_at_its_end():
    schedule = Gradual(begin=3, end=12, every=4)
    assert [step for step in range(20) if schedule.due(step)] == [3, 7, 11, 12]


def test_gradual_prunes_nothing_before_it_begins():
    assert [Gradual(begin=3, end=9).amount(1.0, 0.2, step) for step in range(4)] == [1.0] * 4


@pytest.mark.parametrize(
    ("schedule", "wrong"),
    [
        (Rounds, {"rounds": 0}),
        (Rounds, {"rounds": 2.5}),
        (Rounds, {"rounds": True}),
        (Rounds, {}),
        (Gradual, {}),
        (Gradual, {"begin": 5, "end": 5}),
        (Gradual, {"begin": -1, "end": 5}),
        (Gradual, {"end": 5, "every": 0}),
        (Gradual, {"end": "5"}),
        (Gradual, {"end": 5, "geometric": "no"}),
        (OneShot, {"rounds": 2}),
    ],
)
def test_wrong_numbers_are_refused(schedule, wrong):
    with pytest.raises(ValidationError):
        schedule(**wrong)
