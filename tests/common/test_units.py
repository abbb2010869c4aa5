"""Sizes and numbers as people give them, ratios and counts as people read them."""

import math

import numpy as np
import pytest

from deepcompression.common.messages import are, counted
from deepcompression.common.units import parse_size, positive, times_smaller


@pytest.mark.parametrize(
    ("text", "size"),
    [("12345", 12345), ("5MB", 5_000_000), ("5 mb", 5_000_000), ("1.5KiB", 1536), (" 2 GB ", 2 * 10**9), ("7B", 7)],
)
def test_sizes_have_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5 apples", "-3MB", "MB", "1e6", "5 MB/s"])
def test_other_texts_are_no_sizes(text):
    with pytest.raises(ValueError, match="a size is a number with B, KB, MB, GB, KiB, MiB or GiB; found"):
        parse_size(text)


@pytest.mark.parametrize("value", [3, 0.5, np.float32(2), np.int64(4)])
def test_a_positive_number_of_any_kind_is_taken(value):
    assert positive("max_change", value) == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [(0, ValueError), (-1, ValueError), (math.nan, ValueError), (math.inf, ValueError)]
    + [(value, TypeError) for value in ("8", True, [8], 1j)],
)
def test_what_is_no_positive_number_is_refused_by_its_word(value, kind):
    with pytest.raises(kind, match="max_change is a positive number; found"):
        positive("max_change", value)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [(800, 100, "8.0 times smaller"), (100, 200, "2.0 times larger"), (7, 7, "1.0 times smaller"), (0, 9, "larger")],
)
def test_a_file_that_grew_is_called_larger(before, after, words):
    assert times_smaller(before, after).endswith(words)


def test_one_thing_is_not_many():
    assert [f"{counted(n, 'tensor')} {are(n)}" for n in (0, 1, 2000)] == [
        "0 tensors are",
        "1 tensor is",
        "2,000 tensors are",
    ]
