"""Lists and tables of messages."""

import pytest

from deepcompression.common.messages import aligned, listed, some


@pytest.mark.parametrize(
    ("texts", "separator", "shown"),
    [
        ([], ", ", ""),
        (["b", "a"], ", ", "b, a"),
        (range(8), ", ", "0, 1, 2, 3, 4, 5, 6, 7"),
        (range(10), ", ", "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"),
        (range(9), "; ", "0; 1; 2; 3; 4; 5; 6; 7; and 1 more"),
    ],
)
def test_a_long_list_ends_with_the_number_of_the_others(texts, separator, shown):
    assert listed(texts, separator=separator) == shown


def test_names_are_sorted():
    assert some({"c", "a", "b"}, 2) == "a, b and 1 more"


def test_numbers_are_aligned_at_their_right_edge():
    rows = [("name", "bytes"), ("a", "12345678"), ("longer", "")]
    assert aligned(rows).splitlines() == ["name    bytes", "a       12345678", "longer"]
    assert aligned(rows, numbers=True).splitlines() == ["name       bytes", "a       12345678", "longer"]
