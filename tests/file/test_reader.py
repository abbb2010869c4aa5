"""Reading files: one tensor at a time, checked, dense, by several threads, within the limit."""

import math
import os
import threading
import tracemalloc

import handmade
import numpy as np
import pytest
from cases import CASES, LARGE, content, dense, lenet5, numbers, pruned, shared

import deepcompression as dc
from deepcompression.coding.coders import CODERS, PROFILES, shared_form
from deepcompression.coding.encode_part import Encode
from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.file.reader import DczFile, load_tensors
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.dtypes import narrow
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.dcz"


def huge():
    """A tensor of 20 MB, which all threads decode together."""
    size = 5 << 20
    codes = np.minimum(numbers(size) % 9, numbers(size, 2) % 9).astype(np.uint8)
    return CompressedTensor((size,), np.arange(size), np.arange(1, 10, dtype="<f4"), codes)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_tensor_is_read_dense_in_every_profile_by_any_number_of_threads(path, profile):
    tensors = CASES | LARGE
    save_tensors(path, tensors, profile=profile)
    with DczFile(path) as file:
        for name, tensor in tensors.items():
            for threads in (1, 3):
                found = file.read_dense(name, threads)
                assert isinstance(found, DenseTensor)
                assert content(found) == content(tensor)


@pytest.mark.parametrize("threads", [None, 1, 2, 5])
def test_all_tensors_are_loaded_by_any_number_of_threads(path, threads):
    tensors = lenet5() | {"huge": huge(), "tied": Tie("huge"), "bf16": dense("BF16", (3, 3))}
    save_tensors(path, tensors)
    found = load_tensors(path, threads=threads)
    assert list(found) == list(tensors)
    assert found["tied"] is found["huge"]
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tie):
            assert np.array_equal(found[name], tensor.numpy(), equal_nan=True)


def test_a_damaged_tensor_is_named_whatever_thread_reads_it(path):
    tensors = lenet5() | {"huge": huge()}
    for name in ("huge", "fc1.weight"):
        save_tensors(path, tensors)
        with DczFile(path) as file:
            damage(path, file.entries[name].offset + file.entries[name].length // 2)
        for threads in (1, 3):
            with pytest.raises(dc.FormatError, match=f"model.dcz: tensor '{name}': the payload at offset"):
                load_tensors(path, threads=threads)


def test_a_dense_tensor_is_read_in_little_more_memory_than_it_takes(path):
    tensor = huge()
    save_tensors(path, {"huge": tensor})
    with DczFile(path) as file:
        tracemalloc.start()
        dense_bytes = file.read_dense("huge", 2).elements.nbytes
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak <= 1.1 * dense_bytes + file.size_bytes


def test_dense_tensors_are_the_reader_s_own_to_write_to(path):
    save_tensors(path, {"a": dense("F32", (9,)), "b": pruned("I8", 300, [4]), "c": shared(300, list(range(300)))})
    with DczFile(path) as file:
        for name in file:
            file.read_dense(name).elements[...] = 0


# Checks


def test_asking_for_a_name_reads_no_payload(path):
    save_tensors(path, {"a": dense("F32", (4,))})
    damage(path, -1)
    with DczFile(path) as file:
        assert "a" in file
        assert "b" not in file
        assert len(file) == 1
        with pytest.raises(KeyError):
            file.read("b")


def test_a_check_finds_every_damaged_tensor(path):
    tensors = lenet5() | {"tied": Tie("fc1.weight")}
    save_tensors(path, tensors)
    with DczFile(path) as file:
        victim = file.entries["fc1.weight"]
        for name in tensors:
            file.check(name)
    damage(path, victim.offset)
    with DczFile(path) as file:
        for name in tensors:
            if name in ("fc1.weight", "tied"):
                with pytest.raises(dc.FormatError, match=rf"tensor '{name}': the payload at offset \d+ is damaged"):
                    file.check(name)
            else:
                file.check(name)


def test_a_check_decodes_nothing(path):
    # no coder makes this payload, but its checksum is right
    path.write_bytes(handmade.one(b"\2\2\2", coder=handmade.FAST))
    with DczFile(path) as file:
        file.check("w")
        for read in (file.read, file.read_dense, file.read_with_account):
            with pytest.raises(dc.FormatError, match=r"model.dcz: tensor 'w': the kind of content"):
                read("w")


def test_an_unknown_name_is_a_key_error(path):
    save_tensors(path, {"a": dense("F32", (2,))})
    with DczFile(path) as file:
        for read in (file.read, file.read_dense, file.check, file.__getitem__):
            with pytest.raises(KeyError, match="b"):
                read("b")


def damage(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_reading_one_tensor_touches_no_other(path):
    tensors = lenet5()
    save_tensors(path, tensors)
    with DczFile(path) as file:
        victim = file.entries["fc1.weight"]
    damage(path, victim.offset + victim.length // 2)
    with DczFile(path) as file:
        for name in tensors:
            if name == "fc1.weight":
                with pytest.raises(dc.FormatError, match=r"tensor 'fc1.weight': the payload at offset \d+ is"):
                    file.read(name)
            else:
                assert content(file.read(name)) == content(tensors[name])


def test_threads_may_share_a_file(path):
    tensors = lenet5()
    save_tensors(path, tensors)
    found = {}
    with DczFile(path) as file:
        readers = [threading.Thread(target=lambda n=name: found.update({n: content(file.read(n))})) for name in tensors]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert found == {name: content(tensor) for name, tensor in tensors.items()}


def test_a_file_that_shrinks_while_it_is_open_is_refused(path):
    save_tensors(path, {"a": dense("F32", (2000,))})
    with DczFile(path) as file:
        os.truncate(path, 100)
        with pytest.raises(dc.FormatError, match="the file is cut off, or changed while it was open"):
            file.read("a")


def test_a_file_that_is_none_is_closed_again(path, monkeypatch):
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(dc.FormatError, match=r"model.dcz: not a .dcz file: it begins with 6e 6f 74 68"):
        load_tensors(path)
    with pytest.raises(FileNotFoundError):
        load_tensors(path.with_name("missing.dcz"))


# --- limits


def test_the_limit_counts_the_decoded_bytes_of_all_tensors_but_ties_once(path):
    tensor = shared(1000, [5])
    save_tensors(path, {"a": tensor, "b": pruned("U8", 96, [1]), "c": Tie("a")})
    assert len(load_tensors(path, limit_bytes=4096)) == 3
    with pytest.raises(dc.FormatError, match="the tensors take 4096 bytes when decoded, the limit is 4095"):
        load_tensors(path, limit_bytes=4095)


def test_the_usual_limit_is_the_one_of_the_page():
    assert LIMIT_BYTES == 64 << 30


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("shape", [(0, 5), (1,), (20, 30), (3, 4, 5), (300, 400)])
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F64"])
def test_shared_tensors_are_read_as_they_are_packed(profile, shape, dtype, tmp_path):
    rng = np.random.default_rng(3)
    positions = np.flatnonzero(rng.random(math.prod(shape)) < 0.2).astype(np.int64)
    codebook = narrow(np.array([-2.0, 0.5, 3.0]), dtype)
    tensor = CompressedTensor(shape, positions, codebook, rng.integers(0, 3, len(positions)).astype(np.uint8), dtype)
    save_tensors(tmp_path / "m.dcz", {"w": tensor}, profile=profile)
    with DczFile(tmp_path / "m.dcz") as file:
        found = [shared_form(file.read("w", threads)) for threads in (1, 2)]
    for form in found:
        assert form is not None
        assert (form.shape, form.dtype) == (shape, dtype)
        assert np.array_equal(form.positions, positions)
        assert content(form) == content(tensor)


@pytest.mark.parametrize("coder", CODERS)
def test_tensors_that_are_not_shared_have_no_shared_form(coder, tmp_path):
    rng = np.random.default_rng(3)
    tensors = {
        "many": DenseTensor.from_numpy(rng.standard_normal((300, 400)).astype(np.float32)),
        "integers": DenseTensor.from_numpy(np.arange(5)),
    }
    how = {name: Encode(coder=coder) for name in tensors if coder not in ("huffman", "device")}
    save_tensors(tmp_path / "m.dcz", tensors, how=how)
    with DczFile(tmp_path / "m.dcz") as file:
        for name in tensors:
            assert shared_form(file.read(name)) is None


def test_no_positions_and_no_dense_form_are_made_of_a_shared_tensor(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    positions = np.flatnonzero(rng.random(300 * 400) < 0.1).astype(np.int64)
    tensor = CompressedTensor((300, 400), positions, np.ones(1, np.float32), np.zeros(len(positions), np.uint8))
    for profile in ("fast", "small", "device"):
        save_tensors(tmp_path / "m.dcz", {"w": tensor}, profile=profile)
        tracemalloc.start()
        with DczFile(tmp_path / "m.dcz") as file:
            assert isinstance(file.read("w"), CompressedTensor)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 * len(positions)
