"""Packed weights: pairs that lead to every survivor, with fillers where a gap needs them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcompression.embedded.graph import Graph, Linear, Weight
from deepcompression.embedded.hold import Packed, hold, pack


def unpacked(packed, columns):
    """The matrix, as a board reads it."""
    made = np.zeros((len(packed.counts), columns), np.int8 if packed.codebook is None else np.float32)
    pairs = iter(packed.pairs.tolist())
    for row, count in enumerate(packed.counts):
        at = -1
        for _ in range(count):
            gap, code = next(pairs)
            at += 1 + gap
            made[row, at] = np.uint8(code).view(np.int8) if packed.codebook is None else packed.codebook[code]
    assert next(pairs, None) is None
    return made


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.003, 0.1, 1.0]), st.booleans())
def test_pairs_give_the_matrix_back(seed, density, floats):
    random = np.random.default_rng(seed)
    matrix = random.integers(-127, 128, (4, 900)) * (random.random((4, 900)) < density)
    matrix = matrix.astype(np.float32) / 8 if floats else matrix.astype(np.int8)
    packed = pack("layer", matrix)
    assert isinstance(packed, Packed)
    assert np.array_equal(unpacked(packed, 900), matrix)
    assert packed.counts.sum() == len(packed.pairs)


@pytest.mark.parametrize(
    ("column", "pairs"), [(255, [[255, 7]]), (256, [[255, 0], [0, 7]]), (512, [[255, 0]] * 2 + [[0, 7]])]
)
def test_fillers_step_over_256_columns(column, pairs):
    matrix = np.zeros((1, 600), np.int8)
    matrix[0, column] = 7
    assert pack("layer", matrix).pairs.tolist() == pairs


def test_a_row_of_more_pairs_than_a_count_holds_is_refused_with_the_layer():
    matrix = np.ones((1, 65536), np.int8)
    assert pack("fc1", matrix[:, 1:]).counts.tolist() == [65535]
    with pytest.raises(ValueError, match="fc1: a row has 65536 pairs, and a count ends at 65535: hold it coded"):
        pack("fc1", matrix)


def test_floats_of_more_than_255_values_are_coded_and_it_is_said():
    matrix = np.arange(1, 257, dtype=np.float32)[None]
    layer = Linear("fc", ("x",), "y", Weight("w", matrix), np.zeros(1, np.float32), np.ones(1, np.float32), 1)
    graph = Graph("x", "y", (layer,), {"x": (1, 256), "y": (1, 1)})
    held, notes = hold(graph, {"y": [matrix]}, lambda name: True)
    assert held["y"][0].packed is None
    assert notes == [
        "fc is coded, not packed: it has 256 distinct values; packed float32 weights have at most 255: share them first"
    ]
    assert isinstance(pack("fc", matrix[:, 1:]), Packed)


def test_layers_of_the_same_weights_share_a_tensor_and_others_of_its_name_do_not():
    def layer(x, y):
        return Linear(y, (x,), y, Weight("w", np.eye(4, dtype=np.float32)), np.zeros(4), np.ones(4), 1)

    graph = Graph("x", "c", (layer("x", "a"), layer("a", "b"), layer("b", "c")), dict.fromkeys("xabc", (1, 4)))
    first, second = np.eye(4, dtype=np.int8), 2 * np.eye(4, dtype=np.int8)
    held, _ = hold(graph, {"a": [first], "b": [second], "c": [first.copy()]}, lambda name: False)
    assert [(held[name][0].tensor, held[name][0].number) for name in "abc"] == [("w", 0), ("w#2", 1), ("w", 0)]
