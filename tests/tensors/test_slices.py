"""Slices of weights and bitmaps, compared with the whole."""

import numpy as np
import pytest
from cases import dense, numbers

from deepcompression.tensors import slices
from deepcompression.tensors.dtypes import WEIGHT_DTYPES, nonzero_bits
from deepcompression.tensors.slices import Weights, count_bits, packed, spans, stored_bits, unpacked

SIZES = [0, 1, 7, 8, 9, 16, 63, 64, 65, 200]


@pytest.fixture(autouse=True)
def short_slices(monkeypatch):
    monkeypatch.setattr(slices, "SLICE", 16)


@pytest.mark.parametrize("size", SIZES)
def test_spans_cover_everything_once_in_order(size):
    assert [i for span in spans(size) for i in range(size)[span]] == list(range(size))


@pytest.mark.parametrize("dtype", WEIGHT_DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_slices_are_the_tensor_s_values(size, dtype):
    tensor = dense(dtype, (size,))
    weights = Weights.of_tensor(tensor)
    for _ in range(2):
        values = np.concatenate([np.zeros(0, weights.dtype), *weights.slices()])
        assert values.tobytes() == tensor.numpy().tobytes()
    assert weights.not_finite() == np.count_nonzero(~np.isfinite(tensor.numpy()))


@pytest.mark.parametrize("size", SIZES)
def test_bits_are_those_of_the_whole_mask(size):
    mask = numbers(size) % 3 == 0
    bits = packed((mask[span] for span in spans(size)), size)
    assert bits.tobytes() == np.packbits(mask, bitorder="little").tobytes()
    assert count_bits(bits) == np.count_nonzero(mask)
    assert [unpacked(bits, span).tolist() for span in spans(size)] == [mask[span].tolist() for span in spans(size)]
    values = np.arange(size, dtype=np.float32)
    surviving = [np.zeros(0, np.float32), *Weights.of(values).surviving(bits)]
    assert np.concatenate(surviving).tolist() == values[mask].tolist()


@pytest.mark.parametrize("dtype", ["F32", "U8", "C64"])
def test_stored_bits_are_of_elements_with_any_bit_set(dtype):
    elements = dense(dtype, (10, 9)).elements.copy()
    elements[3] = 0
    assert stored_bits(elements).tobytes() == np.packbits(nonzero_bits(elements), bitorder="little").tobytes()
