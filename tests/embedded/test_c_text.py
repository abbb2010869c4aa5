"""Parts of C source: valid names from any text, comments that nothing ends early, numbers that read back."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcompression.embedded.c_text import WIDTH, array, comment, identifier, number


@given(st.text(max_size=20))
def test_any_text_gives_a_c_name(text):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", identifier(text))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *[("LeNet-5 (final)", "lenet_5_final"), ("5 layers", "net_5_layers"), ("", "net"), ("☃", "net")],
        *[
            ("while", "net_while"),
            ("nn", "net_nn"),
            ("dcz", "net_dcz"),
            ("nn_pool", "net_nn_pool"),
            ("Main", "net_main"),
        ],
    ],
)
def test_names_avoid_words_of_c_and_files_of_the_library(text, name):
    assert identifier(text) == name


@given(st.text(max_size=200))
def test_a_comment_ends_where_it_should_and_is_ascii(text):
    made = comment(text, "  ")
    assert made.isascii()
    assert made.startswith("  /* ")
    assert made.find("*/") == len(made) - 2
    assert "/*" not in made[4:]
    assert "\\" not in made


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_reads_back_to_its_bits(value):
    text = number(np.float32(value))
    assert np.float32(text.removesuffix("f")).tobytes() == np.float32(value).tobytes()
    assert re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?f", text)
    assert "." in text or "e" in text


def test_random_floats_read_back_to_their_bits():
    values = np.random.default_rng(0).integers(0, 0x7F800000, 2000, np.uint32).view(np.float32)
    assert all(np.float32(number(each).removesuffix("f")) == each for each in values)


def test_arrays_hold_the_least_int32_and_are_never_empty():
    assert "-2147483647 - 1," in array("a", np.array([-(2**31)], np.int32))
    assert array("a", np.zeros(0, np.uint8), static=False) == "const uint8_t a[1] = {\n    0,\n};"


def test_lines_are_wrapped():
    text = array("a", np.arange(1000, dtype=np.int32))
    assert max(map(len, text.split("\n"))) <= WIDTH
    assert list(map(int, re.findall(r"\d+", text.partition("{")[2]))) == list(range(1000))
