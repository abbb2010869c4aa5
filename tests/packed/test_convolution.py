"""Settings of convolutions, and the pieces of their weights."""

import math
from itertools import product

import pytest
import torch
from torch.nn import functional as F

from deepcompression.packed.convolution import ConvolutionSettings, pieces


@pytest.mark.parametrize("number", [2, (2,), [2], (2, 2)])
def test_one_number_counts_for_every_dimension(number):
    found = ConvolutionSettings.of(2, number, number, number, 3)
    assert found == ConvolutionSettings((2, 2), (2, 2), (2, 2), 3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stride": (1, 1, 1)}, r"stride is an integer from 1 on, or 2 of them; found \(1, 1, 1\)"),
        ({"stride": 0}, "stride is an integer from 1 on"),
        ({"padding": (0, -1)}, "padding is an integer from 0 on"),
        ({"dilation": (1, 1.5)}, "dilation is an integer from 1 on"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        ConvolutionSettings.of(2, **given)


@pytest.mark.parametrize(("stride", "padding"), [*product([1, 2, 3], [0, 2, "valid"]), (1, "same")])
@pytest.mark.parametrize("dilation", [1, 2])
def test_outputs_have_the_sizes_of_torchs(stride, padding, dilation):
    settings, kernel = ConvolutionSettings.of(2, stride, padding, dilation), (3, 5)
    expected = F.conv2d(torch.zeros(1, 1, 17, 19), torch.zeros(1, 1, *kernel), None, *settings).shape[2:]
    assert settings.outputs(kernel, (17, 19)) == tuple(expected)


@pytest.mark.parametrize("elements", [1, 30, 100, 1000, 10**6])
@pytest.mark.parametrize(("rows", "groups"), [(0, 1), (1, 1), (44, 1), (44, 4), (44, 44), (100, 2)])
def test_pieces_have_every_row_once_and_no_more_elements_than_wanted(rows, groups, elements):
    shape = (rows, 2, 3)
    found = list(pieces(shape, groups, elements))
    assert [row for piece in found for row in range(piece.first, piece.first + piece.rows)] == list(range(rows))
    for piece in found:
        assert piece.rows <= max(1, elements // math.prod(shape[1:]))
        if piece.rows:
            assert piece.first // (rows // groups) == piece.group
            assert (piece.first + piece.rows - 1) // (rows // groups) == piece.group + piece.groups - 1
