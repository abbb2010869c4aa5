"""Sizes of masks, beside their entropy and the positions of the paper."""

import math

import numpy as np
import pytest
from cases import numbers, shared
from masks import encode, in_classes, independent, kernels, uniform

from deepcompression import _core
from deepcompression.coding.coders import encode as encode_tensor
from deepcompression.coding.gaps import Code


def bound_bytes(mask):
    """N * H(density)"""
    density = np.mean(mask)
    return mask.size / 8 * -(density * math.log2(density) + (1 - density) * math.log2(1 - density))


def in_blocks(rows, columns):
    """A matrix of four kinds of rows and columns in no order; how dense their crossings are follows no product."""
    density = np.array([[0.02, 0.30, 0.05, 0.10], [0.25, 0.02, 0.20, 0.01], [0.05, 0.01, 0.02, 0.50], [0.01] * 4])
    kinds = density[numbers(rows, 3) % 4][:, numbers(columns, 4) % 4]
    return uniform(rows * columns, 5).reshape(rows, columns) < kinds


MASKS = {
    "no elements": np.zeros((0,), bool),
    "no elements in two axes": np.zeros((3, 0), bool),
    "a scalar": np.ones((), bool),
    "none": np.zeros((7, 5), bool),
    "all": np.ones((7, 5), bool),
    "one": np.eye(1, 300, 299, dtype=bool),
    "all but one": ~np.eye(1, 300, 150, dtype=bool),
    "every second": np.arange(999) % 2 == 0,
    "tiny": independent((3, 4), 0.3),
    "sparse": independent((60, 70), 0.05),
    "long gaps": independent((9000,), 0.002),
    "half": independent((50, 60), 0.5),
    "dense": independent((40, 3, 3, 3), 0.97),
    "convolution": independent((10, 20, 3, 3), 0.35),
    "classes": in_classes((120, 150)),
    "classes of channels": in_classes((40, 30, 3, 3)),
    "kernels": kernels((30, 40, 3, 3)),
    "columns": np.repeat(independent((1, 90), 0.3), 64, 0),
    "classes of the last axes": np.broadcast_to(independent((1, 1, 5, 5), 0.5), (20, 20, 5, 5))
    & independent((20, 20, 5, 5), 0.8),
}


@pytest.mark.parametrize(
    ("shape", "density", "over"),
    [
        ((1000, 1000), 0.09, 1.015),
        ((1000, 1000), 0.04, 1.010),
        ((128, 512, 3, 3), 0.35, 1.010),
        ((1000, 1000), 0.02, 1.010),
        ((1000, 1000), 0.5, 1.010),
        ((1000, 1000), 0.8, 1.015),
        ((300, 100), 0.1, 1.025),
    ],
)
def test_independent_masks_come_close_to_their_entropy(shape, density, over):
    mask = independent(shape, density)
    assert len(encode(mask)) < over * bound_bytes(mask)


@pytest.mark.parametrize(
    ("mask", "share"),
    [
        (in_classes((600, 500)), 0.65),
        (in_classes((100, 90, 3, 3)), 0.65),
        (in_blocks(500, 600), 0.76),
        (kernels((60, 70, 3, 3)), 0.30),
        (np.repeat(independent((1, 300), 0.3), 200, 0) ^ independent((200, 300), 0.01), 0.11),
    ],
    ids=["matrix", "convolution", "blocks", "kernels", "columns"],
)
def test_structure_saves_bytes(mask, share):
    assert len(encode(mask)) < share * bound_bytes(mask)


def papers_bytes(mask):
    """The bytes of the paper's layout beyond codebook and codes: positions, and fillers among the codes."""
    positions = np.flatnonzero(mask)
    tensor = shared(mask.size, positions, min(16, len(positions)), shape=mask.shape)
    code = Code.of(_core.symbol_counts(tensor.codes.astype(np.uint16), 16))
    return len(encode_tensor(tensor, "huffman")[1]) - 1 - tensor.codebook.nbytes - len(code.table) - code.stream_bytes


@pytest.mark.parametrize("name", [name for name in MASKS if MASKS[name].any()])
def test_small_masks_take_no_more_than_the_papers_positions(name):
    assert len(encode(MASKS[name])) <= max(2, papers_bytes(MASKS[name]))


@pytest.mark.parametrize("density", [0.02, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("shape", [(20, 10, 3, 3), (20, 10, 5, 5), (64, 16, 1, 1), (100, 10)])
def test_small_layers_take_no_more_than_the_papers_positions(shape, density):
    mask = independent(shape, density, seed=5)
    assert len(encode(mask)) <= papers_bytes(mask)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("tiny", "00040601000a"),
        ("one", "00029a02019a91"),
        ("every second", "0004020001"),
        ("columns", "04010102020202880c800258c41429970457b02302020100010001"),
    ],
)
def test_the_bytes_of_these_masks_are_pinned(name, data):
    # a change on purpose changes these lines too
    assert encode(MASKS[name]).hex() == data
