import numpy as np
import pytest
import second_reader
from cases import CASES, GAP_BITS, LARGE, content, dense, numbers, pruned, shared
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompression.coding.coder import Account
from deepcompression.coding.coders import CODERS, DEFAULT_PROFILE, PROFILES, decode, decode_dense, encode, shared_form
from deepcompression.common.binary import Cursor
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, row_of, size_bytes
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor


def can_hold(coder, tensor):
    if coder == "device" and row_of(tensor.dtype, tensor.shape)[0] not in WEIGHT_DTYPES:
        return STORAGE[tensor.dtype].itemsize == 1
    if coder not in ("huffman", "device"):
        return True
    return isinstance(tensor, CompressedTensor) or CompressedTensor.from_dense(tensor) is not None


def check(tensor, coder, payload):
    """Both readers give back the tensor, dense too, and the account adds up."""
    found, account = decode(coder, Cursor(payload), tensor.dtype, tensor.shape)
    assert content(found) == content(tensor)
    for threads in (1, 2):
        assert content(decode_dense(coder, Cursor(payload), tensor.dtype, tensor.shape, threads)) == content(tensor)
    assert sum(account.parts.values()) == len(payload)
    # the second readers of these coders take a millisecond for some ten elements
    if coder not in ("small", "device") or np.prod(tensor.shape) <= 4100:
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
        with pytest.raises(ValueError, match=rf"the coder {coder} cannot hold a {tensor.dtype} tensor of shape \["):
            encode(tensor, coder)


def may_be_deflated(tensor, profile):
    """Tensors of other dtypes than weights; in the smallest files also dense weights."""
    if profile in ("paper", "device"):
        return False
    is_dense = isinstance(tensor, DenseTensor) and np.count_nonzero(tensor.elements) > tensor.elements.size / 2
    return tensor.dtype not in WEIGHT_DTYPES or (profile == "small" and is_dense)


def candidates(tensor, profile):
    """The coders that may be chosen, in the order that decides ties."""
    small = np.prod(row_of(tensor.dtype, tensor.shape)[1]) <= 2**16 and profile != "device"
    deflate = ("deflate",) if may_be_deflated(tensor, profile) else ()
    names = dict.fromkeys(("raw", *PROFILES[profile], *deflate, *(PROFILES["paper"] if small else ())))
    return [coder for coder in names if can_hold(coder, tensor)]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", CASES)
def test_the_chosen_payload_is_the_smallest_of_the_profile_s_coders(name, profile):
    tensor = CASES[name]
    coder, payload = encode(tensor, profile=profile)
    sizes = {c: len(encode(tensor, c)[1]) for c in candidates(tensor, profile)}
    assert len(payload) == min(sizes.values())
    assert coder == next(c for c in sizes if sizes[c] == len(payload))
    assert len(payload) <= size_bytes(tensor.dtype, tensor.shape)


@pytest.mark.parametrize("coder", ["sparse", "huffman"])
@pytest.mark.parametrize("name", CASES)
def test_the_gap_width_of_the_paper_s_layout_is_the_best(name, coder):
    tensor = CASES[name]
    if not can_hold(coder, tensor):
        return
    _, payload = encode(tensor, coder)
    sizes = [len(encode(tensor, coder, bits)[1]) for bits in GAP_BITS]
    assert len(payload) == min(sizes)
    if payload != b"\0":
        narrowest = GAP_BITS[sizes.index(len(payload))]
        assert decode(coder, Cursor(payload), tensor.dtype, tensor.shape)[1].gap_bits == narrowest


@pytest.mark.parametrize("name", LARGE)
def test_large_tensors_come_back_from_the_newer_coders(name):
    tensor = LARGE[name]
    for coder in ("fast", "small", "deflate", "device"):
        if not can_hold(coder, tensor):
            continue
        check(tensor, coder, encode(tensor, coder)[1])


@pytest.mark.parametrize("name", LARGE)
def test_large_tensors_are_stored_in_no_layout_outside_of_their_profile(name):
    tensor = LARGE[name]
    for profile, coders in PROFILES.items():
        coder, payload = encode(tensor, profile=profile)
        assert coder in ("raw", *coders, *(("deflate",) if may_be_deflated(tensor, profile) else ()))
        assert len(payload) <= size_bytes(tensor.dtype, tensor.shape)


def test_the_default_profile_decodes_at_full_speed():
    assert DEFAULT_PROFILE == "fast"
    assert encode(LARGE["narrow lanes"])[0] == "fast"


def test_an_unknown_profile_is_refused():
    with pytest.raises(ValueError, match="unknown profile 'tiny'; known are fast, "):
        encode(dense("F32", (2,)), profile="tiny")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_gap_width_alone_means_the_paper_s_layout(profile):
    tensor = LARGE["narrow lanes"]
    coder, payload = encode(tensor, gap_bits=5, profile=profile)
    assert coder == "huffman"
    assert payload == encode(tensor, "huffman", 5)[1]


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


def test_a_demanded_width_is_used_even_if_it_costs_more():
    tensor = shared(100_000, list(range(0, 100_000, 1000)), 4)
    sizes = [len(encode(tensor, "huffman", bits)[1]) for bits in GAP_BITS]
    assert sizes[0] > min(sizes)


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("bits", [-1, 0, 1, 17, 99])
def test_another_gap_width_is_refused_by_every_coder(bits, coder):
    with pytest.raises(ValueError, match=f"gap_bits is from 2 to 16; found {bits}"):
        encode(shared(4, [], 1), coder, bits)


def test_a_dense_tensor_has_a_shared_form_only_if_it_is_small():
    small, large = (DenseTensor("F32", np.ones(size, "<f4")) for size in (1 << 16, (1 << 16) + 1))
    form = shared_form(small)
    assert isinstance(form, CompressedTensor)
    assert content(form) == content(small)
    assert shared_form(large) is None
    assert shared_form(form) is form


def test_an_unknown_coder_is_refused():
    with pytest.raises(ValueError, match="unknown coder 'zip'; known are raw, sparse, huffman"):
        encode(dense("F32", (2,)), "zip")


@pytest.mark.parametrize("coder", [None, *CODERS])
@pytest.mark.parametrize("name", CASES)
def test_the_same_tensor_gives_the_same_bytes(name, coder):
    if coder is None or can_hold(coder, CASES[name]):
        assert encode(CASES[name], coder) == encode(CASES[name], coder)


@pytest.mark.parametrize("coder", ["huffman", "fast", "small", "device"])
def test_one_tensor_gives_the_same_bytes_whatever_form_and_order_its_codebook_has(coder):
    tensor = CASES["centroids unused, twice, unsorted"]
    assert encode(tensor, coder) == encode(tensor.canonical(), coder) == encode(tensor.dense(), coder)


@pytest.mark.parametrize("coder", ["huffman", "fast", "small", "device"])
def test_parts_may_lie_in_memory_in_any_way(coder):
    positions, codes = np.arange(0, 80, 5), (np.arange(16) % 2).astype(np.uint8)
    codebook = np.array([-1, 0, 1, 0], "<f4")
    strided = CompressedTensor((80,), positions[::2], codebook[::2], codes[::2])
    together = CompressedTensor((80,), positions[::2].copy(), codebook[::2].copy(), codes[::2].copy())
    assert encode(strided, coder) == encode(together, coder)


def test_a_tensor_of_zeros_takes_one_byte():
    zeros = DenseTensor("F32", np.zeros((100, 100), "<f4"))
    assert encode(zeros) == ("sparse", b"\0")
    assert encode(shared(64, []), "huffman")[1] == b"\0"


def test_an_empty_tensor_takes_no_byte():
    assert encode(dense("F32", (3, 0))) == ("raw", b"")


def test_a_constant_tensor_takes_a_few_bytes_whatever_its_size():
    for profile in PROFILES:
        coder, payload = encode(shared(100_000, list(range(100_000)), 1), profile=profile)
        assert coder in PROFILES[profile]
        assert len(payload) < 20


@pytest.mark.parametrize("coder", ["huffman", "fast", "small", "device"])
def test_a_centroid_that_is_zero_is_a_survivor_all_the_same(coder):
    positions, codes = np.arange(0, 60, 2), (np.arange(30) % 2).astype(np.uint8)
    tensor = CompressedTensor((60,), positions, np.array([0.0, 2.0], "<f4"), codes)
    found, account = check(tensor, coder, encode(tensor, coder)[1])
    assert account.survivors == 30
    assert np.array_equal(found.positions, positions)


def test_survivors_of_many_values_are_stored_without_a_codebook_where_that_is_smaller():
    tensor = DenseTensor("F32", numbers(200).view("<f4"))
    found, account = check(tensor, "fast", encode(tensor, "fast")[1])
    assert isinstance(found, DenseTensor)
    assert account.survivors == 200


def test_a_codebook_is_stored_where_that_is_smaller_even_if_few_share_its_values():
    tensor = shared(100, list(range(100)), 40, "F64")
    found, account = check(tensor, "fast", encode(tensor, "fast")[1])
    assert isinstance(found, CompressedTensor)
    assert account.survivors < 4 * account.centroids


@pytest.mark.parametrize("coder", ["huffman", "fast", "small", "device"])
def test_a_shared_tensor_comes_back_in_parts(coder):
    tensor = shared(500, list(range(0, 500, 7)), 4)
    found, _ = check(tensor, coder, encode(tensor, coder)[1])
    assert isinstance(found, CompressedTensor)
    for part in ("positions", "codebook", "codes"):
        assert np.array_equal(getattr(found, part), getattr(tensor, part))


@pytest.mark.parametrize("coder", ["raw", "huffman", "fast", "small", "device"])
def test_decoded_elements_are_the_caller_s_own_to_write_to(coder):
    tensor = shared(500, list(range(0, 500, 7)), 4)
    payload = bytearray(encode(tensor, coder)[1])
    decode_dense(coder, Cursor(payload), tensor.dtype, tensor.shape).elements[:] = 1


def test_the_account_of_the_coder_fast_is_the_one_made_by_hand():
    tensor = CompressedTensor((8,), np.arange(8), np.array([1, 2], "<f4"), (np.arange(8) % 2).astype(np.uint8))
    _, payload = encode(tensor, "fast")
    assert decode("fast", Cursor(payload), "F32", (8,))[1] == Account(
        # kind; layout and kind of a mask of all; k - 1, then 32, 7 and 23 bits
        # layout, number of symbols, two tokens, length, eight bits
        {"fields": 1, "mask": 2, "codebook": 1 + 8, "codes": 1 + 2 + 1 + 1},
        entries=8,
        survivors=8,
        centroids=2,
    )


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
    for coder in ("huffman", "fast", "small", "device", None):
        check(tensor, *encode(tensor, coder))
