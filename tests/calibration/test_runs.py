"""Arrays by name, cut into the inputs of each run."""

from __future__ import annotations

import numpy as np
import pytest

from deepcompression.calibration.runs import Expected, by_position, inputs_of

F4 = np.dtype("f4")


def axes(*sizes, dtype=F4):
    return Expected(dtype, sizes)


def zeros(*shape, dtype="f4"):
    return np.zeros(shape, dtype)


def shapes(runs):
    return [{name: array.shape for name, array in run.items()} for run in runs]


def runs_of(arrays, expected):
    return inputs_of(arrays, expected).runs(8)


def counted(*shape):
    return np.arange(np.prod(shape), dtype="f4").reshape(shape)


def test_the_first_axis_counts_inputs_of_which_some_run_at_once():
    runs = runs_of({"x": zeros(20, 3), "y": zeros(20)}, {"x": axes(None, 3), "y": axes(None)})
    assert shapes(runs) == [{"x": (8, 3), "y": (8,)}] * 2 + [{"x": (4, 3), "y": (4,)}]


def test_a_model_of_a_fixed_number_takes_so_many_at_once():
    assert shapes(runs_of({"x": zeros(6, 3)}, {"x": axes(2, 3)})) == [{"x": (2, 3)}] * 3
    # and any length of the other axis
    assert shapes(runs_of({"x": zeros(3, 50)}, {"x": axes(1, None)})) == [{"x": (1, 50)}] * 3


def test_a_scalar_goes_into_every_run():
    expected = {"x": axes(None, 3), "rate": axes(dtype=np.dtype("i8"))}
    runs = runs_of({"x": zeros(16, 3), "rate": np.array(16000)}, expected)
    assert [int(run["rate"]) for run in runs] == [16000, 16000]
    assert runs[0]["rate"].shape == ()


def test_one_axis_more_has_a_part_for_each_run():
    expected = {"x": axes(None, 3), "t": axes(), "h": axes(2, None, 4)}
    x, t, h = counted(5, 7, 3), counted(5), counted(5, 2, 7, 4)
    runs = runs_of({"x": x, "t": t, "h": h}, expected)
    for number, run in enumerate(runs):
        assert np.array_equal(run["x"], x[number])
        assert np.array_equal(run["h"], h[number])
        assert run["t"].shape == ()
        assert run["t"] == number


def test_beside_parts_for_each_run_others_have_an_input_for_each_or_one_for_all():
    expected = {"t": axes(), "x": axes(None, 3), "h": axes(2, None, 4), "y": axes(2, 5)}
    arrays = {"t": zeros(6), "x": zeros(6, 3), "h": zeros(2, 1, 4), "y": zeros(12, 5)}
    assert shapes(runs_of(arrays, expected)) == [{"t": (), "x": (1, 3), "h": (2, 1, 4), "y": (2, 5)}] * 6


def test_inputs_are_counted_along_another_axis_if_that_is_what_the_arrays_share():
    expected = {"x": axes(None, None), "h": axes(2, None, 4), "rate": axes(dtype=np.dtype("i8"))}
    x, h = counted(20, 50), counted(2, 20, 4)
    runs = runs_of({"x": x, "h": h, "rate": np.array(8)}, expected)
    assert shapes(runs) == [{"x": (n, 50), "h": (2, n, 4), "rate": ()} for n in (8, 8, 4)]
    assert np.array_equal(np.concatenate([run["h"] for run in runs], 1), h)
    # time, batch, channels
    runs = inputs_of(
        {"x": zeros(30, 16, 5), "h": zeros(1, 16, 4)}, {"x": axes(None, None, 5), "h": axes(1, None, 4)}
    ).runs(8)
    assert shapes(runs) == [{"x": (30, 8, 5), "h": (1, 8, 4)}] * 2


def test_arrays_of_the_very_sizes_of_the_model_go_into_every_run():
    expected = {"x": axes(1, 50), "h": axes(2, 1, 4)}
    assert shapes(runs_of({"x": zeros(6, 50), "h": zeros(2, 1, 4)}, expected)) == [{"x": (1, 50), "h": (2, 1, 4)}] * 6
    assert shapes(runs_of({"x": zeros(1, 50), "h": zeros(2, 1, 4)}, expected)) == [{"x": (1, 50), "h": (2, 1, 4)}]


def test_an_input_of_unknown_axes_takes_any_array():
    runs = runs_of({"x": zeros(9, 3, 2), "s": zeros()}, {"x": Expected(F4), "s": Expected(F4)})
    assert shapes(runs) == [{"x": (8, 3, 2), "s": ()}, {"x": (1, 3, 2), "s": ()}]


@pytest.mark.parametrize(
    ("arrays", "expected", "words"),
    [
        (
            {"x": zeros(4, 7)},
            {"x": axes(None, 8)},
            r"x is float32 \[4, 7\]; expected float32 \[any, 8\], or \[runs, any",
        ),
        ({"x": zeros(4, 8, dtype="f8")}, {"x": axes(None, 8)}, r"x is float64 \[4, 8\]; expected float32 \[any, 8\]"),
        ({"x": zeros(4, 1, 1, 8)}, {"x": axes(None, 8)}, r"expected float32 \[any, 8\], or \[runs, any, 8\]"),
        (
            {"x": zeros(4, 3, 8)},
            {"x": axes(2, 8)},
            r"x is float32 \[4, 3, 8\]; .* or \[runs, 2, 8\] with a part for each",
        ),
        ({"t": zeros(4, 3)}, {"t": axes()}, r"t is float32 \[4, 3\]; expected float32 \[\], or \[runs\] with a part"),
        ({"x": zeros(4, dtype="i4")}, {"x": Expected(F4)}, r"x is int32 \[4\]; expected float32 any shape"),
        ({"x": zeros(0, 8)}, {"x": axes(None, 8)}, r"need one number of rows, and some: x is \[0, 8\]"),
        ({"x": zeros(5, 8)}, {"x": axes(2, 8)}, "takes 2 inputs at once; found 5, which is no multiple"),
        (
            {"x": zeros(4, 8), "y": zeros(5, 8)},
            {"x": axes(None, 8), "y": axes(None, 8)},
            r"one number of rows, and some: found \{'x': \[4, 8\], 'y': \[5, 8\]\}; give arrays that differ one",
        ),
        (
            {"t": zeros(5), "x": zeros(4, 8)},
            {"t": axes(), "x": axes(None, 8)},
            r"need one number of runs: found \{'t': 5, 'x': 4\}",
        ),
        (
            {"x": zeros(6, 8), "y": zeros(6, 8)},
            {"x": axes(2, 8), "y": axes(3, 8)},
            "need a part for each run: the network takes",
        ),
        ({"x": np.full((2, 8), np.inf, "f4")}, {"x": axes(None, 8)}, "x has 16 values that are not finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, expected, words):
    with pytest.raises(ValueError, match=words):
        runs_of(arrays, expected)


def test_arrays_without_names_are_in_the_order_of_their_numbers():
    arrays = {f"arr_{number}": zeros(number) for number in (10, 2, 0)}
    assert [len(array) for array in by_position(arrays)] == [0, 2, 10]
    assert by_position(arrays | {"x": zeros(1)}) == []
