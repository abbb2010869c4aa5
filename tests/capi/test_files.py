"""Files through the C interface: the golden ones, good and bad, cut ones, and one reader in two threads."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import c_interface as c
import numpy as np
import pytest
from bad_device_files import DEVICE_PAYLOAD
from bad_files import BAD, DEFLATE_PAYLOAD, FAST_PAYLOAD, PAYLOAD, SMALL_PAYLOAD
from golden_files import GOOD

from deepcompression.file.reader import DczFile
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.tensor import DenseTensor, raw_bytes

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("name", GOOD)
def test_a_golden_file_is_listed_and_decoded_as_in_python(name):
    path = GOLDEN / "good" / f"{name}.dcz"
    with DczFile(path) as file, c.opened(path) as reader:
        found = c.entries(reader)
        assert [each.name.text for each in found] == list(file)
        for number, (each, expected) in enumerate(zip(found, file.entries.values(), strict=True)):
            assert c.find(reader, expected.name) == number
            shape = tuple(each.shape[: each.dimensions])
            facts = (each.dtype.decode(), shape, each.coder.decode(), each.bytes, each.stored_bytes)
            assert facts == (expected.dtype, expected.shape, expected.coder, expected.nbytes, expected.length)
            assert found[each.tied_to].name.text == (expected.tied_to or expected.name)
            elements = bytes(raw_bytes(file.read_dense(expected.name)))
            assert c.decode(reader, number) == c.decode(reader, number, threads=3) == elements
            c.call("dcz_reader_check", reader, number)


@pytest.mark.parametrize("name", GOOD)
def test_a_file_in_memory_is_the_same_as_on_disk(name):
    path = GOLDEN / "good" / f"{name}.dcz"
    assert decoded(path) == decoded(path.read_bytes())


def decoded(source):
    with c.opened(source) as reader:
        return [c.decode(reader, number) for number in range(len(c.entries(reader)))]


def refusal(source):
    """The message of the first call that refuses the file."""
    with pytest.raises(c.CallError) as caught:
        decoded(source)
    assert caught.value.status == c.BAD_FILE
    return str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_golden_file_is_refused_with_python_s_message(name):
    path = GOLDEN / "bad" / f"{name}.dcz"
    message = refusal(path)
    assert re.search(BAD[name][1], message), message
    assert message.startswith(f"{path}: ")


def test_a_file_cut_anywhere_is_refused():
    data = (GOLDEN / "good" / "worked-example.dcz").read_bytes()
    for length in range(len(data)):
        assert refusal(data[:length])


def test_metadata_comes_in_order_with_zero_bytes(tmp_path):
    metadata = {"b": "second", "a": "fir\0st", "": "ä"}
    save_tensors(tmp_path / "m.dcz", {}, metadata)
    with c.opened(tmp_path / "m.dcz") as reader:
        found = []
        for number in range(c.library().dcz_reader_metadata_count(reader)):
            key, value = c.Text(), c.Text()
            c.call("dcz_reader_metadata", reader, number, c.byref(key), c.byref(value))
            found.append((key.text, value.text))
        assert found == sorted(metadata.items())


def test_a_damaged_tensor_leaves_memory_as_it_was_and_a_reader_for_the_others(tmp_path):
    tensors = {name: DenseTensor.from_numpy(np.full(9, 7, np.int8)) for name in "ab"}
    save_tensors(tmp_path / "m.dcz", tensors, {})
    data = bytearray((tmp_path / "m.dcz").read_bytes())
    data[-1] ^= 1
    with c.opened(bytes(data)) as reader:
        elements = c.ctypes.create_string_buffer(b"\xaa" * 9, 9)
        with pytest.raises(c.CallError, match=r"tensor 'b': the payload at offset .* is damaged"):
            c.call("dcz_reader_decode", reader, 1, elements, 9, 1)
        assert elements.raw == b"\xaa" * 9
        with pytest.raises(c.CallError, match="is damaged"):
            c.call("dcz_reader_check", reader, 1)
        assert c.decode(reader, 0) == b"\7" * 9


@pytest.mark.parametrize("name", PAYLOAD | FAST_PAYLOAD | SMALL_PAYLOAD | DEFLATE_PAYLOAD | DEVICE_PAYLOAD)
def test_a_bad_payload_leaves_zeros_or_memory_as_it_was(name):
    with c.opened(GOLDEN / "bad" / f"{name}.dcz") as reader:
        size = c.entry(reader, 0).bytes
        elements = np.empty(size, np.uint8)
        elements[: 1 << 20] = 0xAA
        with pytest.raises(c.CallError) as caught:
            c.call("dcz_reader_decode", reader, 0, elements.ctypes.data, size, 1)
    assert caught.value.status == c.BAD_FILE
    assert len(np.unique(elements[: 1 << 20])) <= 1


def test_a_limit_bounds_all_decoded_tensors(tmp_path):
    save_tensors(tmp_path / "m.dcz", {"a": DenseTensor.from_numpy(np.ones(100, np.float32))}, {})
    with c.opened(tmp_path / "m.dcz", limit_bytes=400):
        pass
    with (
        pytest.raises(c.CallError, match="take 400 bytes when decoded, the limit is 399"),
        c.opened(tmp_path / "m.dcz", limit_bytes=399),
    ):
        pass


def test_threads_share_a_reader(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        str(i): np.where(rng.random(5000) < 0.1, rng.integers(1, 9, 5000), 0).astype(np.float32) for i in range(8)
    }
    save_tensors(tmp_path / "m.dcz", {name: DenseTensor.from_numpy(array) for name, array in arrays.items()}, {})
    with c.opened(tmp_path / "m.dcz") as reader, ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            found = pool.map(lambda number: c.decode(reader, number, threads=2), range(8))
            assert list(found) == [array.tobytes() for array in arrays.values()]
