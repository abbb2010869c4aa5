"""The coder device: groups of rows, the smaller of gaps and fillers, sizes beside the coder fast, and its limits."""

import time
from pathlib import Path

import handmade
import numpy as np
import pytest
from bad_device_files import NO_GAPS
from cases import content, dense, numbers, pruned, shared

from deepcompression import _core
from deepcompression.coding.coder import Account
from deepcompression.coding.coders import PROFILES, decode, decode_dense, encode, shared_form
from deepcompression.coding.device import work_bytes
from deepcompression.common.binary import Cursor, FormatError
from deepcompression.file.reader import DczFile
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor

RESULTS = Path(__file__).parents[2] / "reproduce" / "results"


def at_random(rows, columns, of_256, centroids=16):
    positions = np.flatnonzero(numbers(rows * columns, 1) % 256 < of_256)
    return shared(rows * columns, positions.tolist(), centroids, shape=(rows, columns))


def payload_of(tensor):
    coder, payload = encode(tensor, "device")
    assert coder == "device"
    return payload


def group_rows(payload):
    cursor = Cursor(payload)
    cursor.u8("kind")
    return cursor.varint("rows of a group")


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5"])
@pytest.mark.parametrize("seed", ["", "-seed-1", "-seed-2"])
def test_a_file_of_the_profile_device_is_at_most_2_percent_larger_than_fast(name, seed, tmp_path):
    with DczFile(RESULTS / f"{name}{seed}.dcz") as file:
        tensors = {key: file.read(key) for key in file}
    assert_at_most_2_percent_larger(tensors, tmp_path)


def test_squeezenet_is_at_most_2_percent_larger_than_fast(released_squeezenet, tmp_path):
    assert_at_most_2_percent_larger(released_squeezenet, tmp_path)


def assert_at_most_2_percent_larger(tensors, folder):
    sizes = {}
    for profile in ("fast", "device"):
        save_tensors(folder / f"{profile}.dcz", tensors, profile=profile)
        sizes[profile] = (folder / f"{profile}.dcz").stat().st_size
    assert sizes["device"] <= 1.02 * sizes["fast"], sizes


def test_a_group_takes_about_8000_bytes_whatever_its_rows():
    for rows, columns in ((10_000, 50), (600, 800)):
        payload = payload_of(at_random(rows, columns, 60))
        groups = rows / group_rows(payload)
        assert groups > 4
        assert 7500 < len(payload) / groups < 8500
    assert group_rows(payload_of(at_random(4, 60_000, 60))) == 1
    assert group_rows(payload_of(at_random(20, 60, 60))) == 20


def test_rows_without_survivors_cost_nothing_but_a_gap():
    few = payload_of(shared(100_000, [7, 99_000], 2, shape=(1000, 100)))
    assert len(few) < 90


def test_dense_weights_are_stored_with_fillers_and_sparse_ones_with_gaps():
    for of_256, lone in ((250, True), (20, False)):
        payload = payload_of(at_random(40, 100, of_256))
        cursor = Cursor(payload)
        cursor.take(1, "kind")
        cursor.varint("rows of a group")
        centroids = cursor.u8("centroids") + 1
        cursor.core(_core.unpack_ascending, centroids, 32)
        escape = cursor.u8("escape")
        gaps = cursor.core(_core.unpack_table, escape + 1)
        assert (np.count_nonzero(gaps) == 1) == lone


def test_256_centroids_leave_no_filler_and_all_the_same_come_back():
    tensor = at_random(40, 100, 250, 256)
    assert len(tensor.canonical().codebook) == 256
    assert content(decode_dense("device", Cursor(payload_of(tensor)), "F32", (40, 100))) == content(tensor)


def test_codes_of_more_than_12_bits_are_never_written():
    # counts that double from symbol to symbol would make codes of up to 17 bits
    codes = np.repeat(np.arange(18), 2 ** np.arange(18)).astype(np.uint8)
    tensor = CompressedTensor((len(codes),), np.arange(len(codes)), np.arange(1, 19, dtype="<f4"), codes)
    payload = payload_of(tensor)
    assert content(decode("device", Cursor(payload), "F32", tensor.shape)[0]) == content(tensor)


def test_the_account_of_fillers_is_the_one_made_by_hand():
    tensor = CompressedTensor((2, 8), np.array([0, 3, 9]), np.array([1, 2], "<f4"), np.array([0, 1, 0], np.uint8))
    assert decode("device", Cursor(payload_of(tensor)), "F32", (2, 8))[1] == Account(
        # kind, group, escape and one length; k - 1, then 32, 7 and 23 bits; number of symbols, one or three tokens;
        # 13 fillers of 1 bit, 3 codes of 2
        {"fields": 4, "codebook": 9, "gap table": 2, "code table": 3, "codes": 3, "mask": 0},
        entries=3,
        survivors=3,
        centroids=2,
    )


def test_the_account_of_gaps_is_the_one_made_by_hand():
    # 30 survivors, each 16 behind the one before: gaps of 15 alone but for the first and the last
    tensor = shared(480, list(range(0, 480, 16)), 2, shape=(2, 240))
    payload = payload_of(tensor)
    account = decode("device", Cursor(payload), "F32", (2, 240))[1]
    assert (account.parts["fields"], account.survivors) == (4, 30)
    # codes of 1 bit
    assert account.parts["codes"] == 4
    assert sum(account.parts.values()) == len(payload)


def test_elements_of_one_byte_need_no_codebook():
    tensor = pruned("I8", 600, list(range(0, 600, 9)))
    found, account = decode("device", Cursor(payload_of(tensor)), "I8", (600,))
    assert isinstance(found, DenseTensor)
    assert content(found) == content(tensor)
    assert (account.survivors, account.centroids, account.parts["codebook"]) == (67, 0, 0)


@pytest.mark.parametrize("tensor", [dense("I32", (9,)), dense("C64", (2,)), dense("C128", (2,))])
def test_other_dtypes_are_refused_by_the_coder_and_raw_in_the_profile(tensor):
    with pytest.raises(ValueError, match="the coder device cannot hold"):
        encode(tensor, "device")
    assert encode(tensor, profile="device")[0] == "raw"


@pytest.mark.parametrize("dtype", ["I32", "C64", "I8", "F16"])
def test_a_tensor_without_survivors_is_read_in_every_dtype(dtype):
    """No writer makes one of a dtype without a codebook whose elements have more than a byte."""
    dense_one = decode_dense("device", Cursor(b"\0"), dtype, (3, 3))
    for tensor in (dense_one, decode("device", Cursor(b"\0"), dtype, (3, 3))[0]):
        assert content(tensor)[:2] == (dtype, (3, 3))
        assert not any(content(tensor)[2])


def test_weights_that_are_not_shared_are_raw_in_the_profile():
    tensor = DenseTensor("F32", np.arange(1, 400, dtype="<f4"))
    assert encode(tensor, profile="device")[0] == "raw"
    assert PROFILES["device"] == ("device",)


def test_small_tensors_take_no_other_coder_in_the_profile():
    for positions in ([], [3], list(range(0, 40, 3))):
        assert encode(shared(40, positions, 2), profile="device")[0] in ("device", "raw")


def test_elements_without_bytes_are_refused_before_their_memory_is_touched():
    head = b"\1\1\1" + NO_GAPS + handmade.TWO
    for decoder in (decode, decode_dense):
        start = time.process_time()
        with pytest.raises(FormatError, match="the payload is malformed, at row 0"):
            decoder("device", Cursor(head + b"\1\xff"), "U8", (2**30,))
        assert time.process_time() - start < 0.5


def test_the_work_buffer_of_a_file_is_that_of_its_neediest_tensor(tmp_path):
    small, large = shared(90, [3, 9], 2), at_random(60, 200, 30, 200)
    path = tmp_path / "model.dcz"
    save_tensors(path, {"small": small, "raw": dense("F32", (3,)), "large": large}, {"a": "b"}, profile="device")
    with DczFile(path) as file:
        assert file.metadata == {"a": "b"}
        needs = [work_bytes(payload_of(each), "F32", each.shape) for each in (small, large)]
        assert needs[0] < needs[1] == file.work_bytes
    save_tensors(path, {"small": small}, {"device.work": "7"}, profile="fast")
    with DczFile(path) as file:
        assert (file.metadata, file.work_bytes) == ({}, 0)


@pytest.mark.parametrize("value", ["", "-1", "x", "1" * 30, "٣"])
def test_a_file_whose_work_buffer_is_no_number_is_refused(value, tmp_path):
    path = tmp_path / "bad.dcz"
    metadata = b"\1" + handmade.text(b"device.work") + handmade.text(value.encode())
    path.write_bytes(handmade.file([], metadata=metadata))
    with pytest.raises(FormatError, match=r"its metadata device\.work is no number of bytes"):
        DczFile(path)


def test_shared_weights_can_be_packed_from_a_file_of_the_profile():
    tensor = at_random(60, 200, 30)
    found = decode("device", Cursor(payload_of(tensor)), "F32", (60, 200))[0]
    form = shared_form(found)
    assert form is not None
    assert np.array_equal(form.bits, tensor.bits)
