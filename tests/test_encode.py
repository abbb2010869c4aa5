import numpy as np
import pytest
import second_reader
from cases import CASES, GAP_BITS, content, dense, pruned, shared
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompression.encode import CODERS, Account, decode, encode
from deepcompression.tensor import STORAGE, WEIGHT_DTYPES, CompressedTensor, DenseTensor
from deepcompression.wire import Cursor


def can_hold(coder, tensor):
    if coder != "huffman":
        return True
    return isinstance(tensor, CompressedTensor) or CompressedTensor.from_dense(tensor) is not None


def check(tensor, coder, payload):
    """Both readers give back the tensor, and the account adds up."""
    found, account = decode(coder, Cursor(payload), tensor.dtype, tensor.shape)
    assert content(found) == content(tensor)
    assert sum(account.parts.values()) == len(payload)
    number = CODERS[coder].number
    second = second_reader.read_payload(second_reader.Bytes(payload), number, tensor.dtype, tensor.shape)
    assert second == content(tensor)[2]
    return found, account


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("name", CASES)
def test_every_tensor_comes_back_from_every_coder_that_can_hold_it(name, coder):
    tensor = CASES[name]
    if can_hold(coder, tensor):
        assert encode(tensor, coder)[0] == coder
        check(tensor, coder, encode(tensor, coder)[1])
    else:
        with pytest.raises(ValueError, match=rf"the coder huffman cannot hold a {tensor.dtype} tensor of shape \["):
            encode(tensor, coder)


@pytest.mark.parametrize("name", CASES)
def test_the_chosen_payload_is_the_smallest_of_all_coders_and_gap_widths(name):
    tensor = CASES[name]
    coder, payload = encode(tensor)
    possible = [c for c in CODERS if can_hold(c, tensor)]
    sizes = {(c, bits): len(encode(tensor, c, bits)[1]) for c in possible for bits in GAP_BITS}
    assert len(payload) == min(sizes.values())
    assert coder == next(c for c, bits in sizes if sizes[c, bits] == len(payload))
    if coder != "raw" and payload != b"\0":
        narrowest = min(bits for c, bits in sizes if c == coder and sizes[c, bits] == len(payload))
        assert decode(coder, Cursor(payload), tensor.dtype, tensor.shape)[1].gap_bits == narrowest


@pytest.mark.parametrize("coder", ["sparse", "huffman"])
@pytest.mark.parametrize("bits", GAP_BITS)
def test_every_gap_width_can_be_demanded_and_fills_as_figure_2(bits, coder):
    step = 2**bits
    # the first survivor, then steps of 2^b, 2^b + 1 and a bit more than twice that
    positions = np.cumsum([0, step, step + 1, 2 * step + 2]).tolist()
    tensor = shared(positions[-1] + 1, positions, 2)
    _, payload = encode(tensor, coder, bits)
    _, account = check(tensor, coder, payload)
    assert account.gap_bits == bits
    assert account.survivors == 4
    assert account.fillers == 0 + 0 + 1 + 2


@pytest.mark.parametrize("coder", ["sparse", "huffman"])
@pytest.mark.parametrize("position", [0, 3, 4, 5, 299])
def test_a_lone_survivor_needs_as_many_fillers_as_its_distance_says(position, coder):
    tensor = shared(300, [position], 1)
    _, account = check(tensor, coder, encode(tensor, coder, 2)[1])
    assert account.fillers == position // 4


def test_a_demanded_width_costs_what_it_costs():
    tensor = shared(100_000, list(range(0, 100_000, 1000)), 4)
    sizes = [len(encode(tensor, "huffman", bits)[1]) for bits in GAP_BITS]
    assert sizes[0] > min(sizes)


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("bits", [-1, 0, 1, 17, 99])
def test_another_gap_width_is_refused_by_every_coder(bits, coder):
    with pytest.raises(ValueError, match=f"gap_bits is from 2 to 16; found {bits}"):
        encode(shared(4, [], 1), coder, bits)


def test_an_unknown_coder_is_refused():
    with pytest.raises(ValueError, match="unknown coder 'zip'; known are raw, sparse, huffman"):
        encode(dense("F32", (2,)), "zip")


@pytest.mark.parametrize("name", CASES)
def test_the_same_tensor_gives_the_same_bytes(name):
    assert encode(CASES[name]) == encode(CASES[name])


def test_one_tensor_gives_the_same_bytes_whatever_form_and_order_its_codebook_has():
    tensor = CASES["centroids unused, twice, unsorted"]
    assert encode(tensor, "huffman") == encode(tensor.canonical(), "huffman") == encode(tensor.dense(), "huffman")


def test_parts_may_lie_in_memory_in_any_way():
    positions, codes = np.arange(0, 80, 5), (np.arange(16) % 2).astype(np.uint8)
    codebook = np.array([-1, 0, 1, 0], "<f4")
    strided = CompressedTensor((80,), positions[::2], codebook[::2], codes[::2])
    together = CompressedTensor((80,), positions[::2].copy(), codebook[::2].copy(), codes[::2].copy())
    assert encode(strided, "huffman") == encode(together, "huffman")


def test_a_tensor_of_zeros_takes_one_byte():
    zeros = DenseTensor("F32", np.zeros((100, 100), "<f4"))
    assert encode(zeros) == ("sparse", b"\0")
    assert encode(shared(64, []), "huffman")[1] == b"\0"


def test_an_empty_tensor_takes_no_byte():
    assert encode(dense("F32", (3, 0))) == ("raw", b"")


def test_a_constant_tensor_takes_a_few_bytes_whatever_its_size():
    coder, payload = encode(shared(100_000, list(range(100_000)), 1))
    assert coder == "huffman"
    assert len(payload) < 20


def test_a_centroid_that_is_zero_is_a_survivor_all_the_same():
    tensor = CASES["a centroid that is zero"]
    found, account = check(tensor, "huffman", encode(tensor, "huffman")[1])
    assert account.survivors == 3
    assert found.positions.tolist() == [1, 2, 5]


def test_a_shared_tensor_comes_back_in_parts():
    tensor = shared(500, list(range(0, 500, 7)), 4)
    found, _ = check(tensor, "huffman", encode(tensor, "huffman")[1])
    assert isinstance(found, CompressedTensor)
    for part in ("positions", "codebook", "codes"):
        assert np.array_equal(getattr(found, part), getattr(tensor, part))


def test_the_account_of_a_tensor_is_the_one_made_by_hand():
    # position 5 is 6 steps from the start: a filler at step 4, then a step of 2; 5 to 6 is one step
    tensor = CompressedTensor((8,), np.array([5, 6]), np.array([1, 2], "<f4"), np.array([0, 1], np.uint8))
    _, payload = encode(tensor, "huffman", 2)
    assert decode("huffman", Cursor(payload), "F32", (8,))[1] == Account(
        # entries, gap bits, length, k - 1; n and 4 tokens; three gaps of 1 + 2 + 2 bits; two float32; n and 3 tokens
        {"fields": 4, "gap table": 3, "gaps": 1, "codebook": 8, "code table": 3, "codes": 1},
        entries=3,
        survivors=2,
        centroids=2,
        gap_bits=2,
    )


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    dtype=st.sampled_from(sorted(STORAGE)),
    steps=st.lists(st.integers(1, 70) | st.integers(1, 70_000), max_size=12),
    behind=st.integers(0, 40),
    gap_bits=st.none() | st.sampled_from(GAP_BITS),
)
def test_any_pruned_tensor_comes_back(dtype, steps, behind, gap_bits):
    positions = (np.cumsum(steps) - 1).astype(int).tolist()
    tensor = pruned(dtype, sum(steps) + behind, positions)
    for coder in CODERS:
        if can_hold(coder, tensor):
            check(tensor, coder, encode(tensor, coder, max(gap_bits or 0, 8) if sum(steps) > 5000 else gap_bits)[1])


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    dtype=st.sampled_from(WEIGHT_DTYPES),
    size=st.integers(1, 2000),
    centroids=st.integers(1, 256),
    data=st.data(),
)
def test_any_shared_tensor_comes_back(dtype, size, centroids, data):
    positions = sorted(data.draw(st.sets(st.integers(0, size - 1), max_size=100)))
    tensor = shared(size, positions, centroids, dtype)
    check(tensor, "huffman", encode(tensor, "huffman")[1])
    check(tensor, *encode(tensor))
