"""Patches between files: exact, never larger than the new file, small for what updates change."""

import numpy as np
import pytest
import slow_patches
from cases import all_cases, dense
from updates import network, other_head, other_masks, pruned_and_shared, retrained

import deepcompression as dc
from deepcompression.coding.coders import PROFILES
from deepcompression.delta import huffman
from deepcompression.tensors.dtypes import STORAGE
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor


def patched(folder, old, new, profile="device", new_profile=None, metadata=None):
    """The sizes of the patch between two files, after both readers made the new one of it."""
    dc.save_tensors(folder / "old.dcz", old, {"is": "old"}, profile=profile)
    dc.save_tensors(folder / "new.dcz", new, metadata or {"is": "old"}, profile=new_profile or profile)
    sizes = dc.make_patch(folder / "old.dcz", folder / "new.dcz", folder / "patch.dcp")
    patch, wanted = (folder / "patch.dcp").read_bytes(), (folder / "new.dcz").read_bytes()
    dc.apply_patch(folder / "old.dcz", folder / "patch.dcp", folder / "back.dcz")
    assert (folder / "back.dcz").read_bytes() == wanted
    if sizes.kind == "plain":
        assert slow_patches.read(patch, (folder / "old.dcz").read_bytes()) == wanted
    assert sizes.patch_bytes == len(patch) <= sizes.new_bytes == len(wanted)
    return sizes


@pytest.mark.parametrize("profile", PROFILES)
def test_a_retrained_network_of_the_same_masks_takes_a_third(tmp_path, profile):
    sizes = patched(tmp_path, network(), retrained(network()), profile)
    assert sizes.patch_bytes < 0.36 * sizes.new_bytes
    assert sizes.kind == ("plain" if profile == "device" else "recoding")


@pytest.mark.parametrize("profile", PROFILES)
def test_few_changed_codes_take_little(tmp_path, profile):
    old = {name: tensor for name, tensor in network().items() if name.endswith("weight")}
    sizes = patched(tmp_path, old, retrained(old, part=0.01), profile)
    assert sizes.patch_bytes < 0.25 * sizes.new_bytes


@pytest.mark.parametrize("profile", PROFILES)
def test_other_masks_take_little_more(tmp_path, profile):
    sizes = patched(tmp_path, network(), retrained(other_masks(network())), profile)
    assert sizes.patch_bytes < 0.45 * sizes.new_bytes


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("classes", [10, 12, 7])
def test_another_head_takes_no_more_than_the_head(tmp_path, profile, classes):
    new = other_head(network(), classes)
    sizes = patched(tmp_path, network(), new, profile)
    dc.save_tensors(tmp_path / "head.dcz", {"fc2.weight": new["fc2.weight"]}, profile=profile)
    assert sizes.patch_bytes < (tmp_path / "head.dcz").stat().st_size + 40


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_file_takes_tens_of_bytes(tmp_path, profile):
    assert patched(tmp_path, network(), network(), profile).patch_bytes < 40


@pytest.mark.parametrize("profile", PROFILES)
def test_names_order_ties_and_metadata_take_tens_of_bytes(tmp_path, profile):
    old = network()
    for new in (
        dict(reversed(old.items())),
        {name.replace("fc1", "middle"): tensor for name, tensor in old.items()},
        {name: tensor for name, tensor in old.items() if name != "fc1.weight"},
        {**old, "again": Tie("fc0.weight")},
    ):
        sizes = patched(tmp_path, old, new, profile, metadata={"is": "new"})
        assert sizes.kind == "plain"
        assert sizes.patch_bytes < 150


def test_a_renamed_tensor_that_changed_is_found_by_its_shape(tmp_path):
    old = network()
    new = {name.replace("fc0", "first"): tensor for name, tensor in retrained(old).items()}
    sizes = patched(tmp_path, old, new)
    assert sizes.patch_bytes < 0.36 * sizes.new_bytes


@pytest.mark.parametrize("profile", ["device", "fast"])
@pytest.mark.parametrize(
    "number",
    [lambda i: i + 20, lambda i: i - 1, lambda i: i - (i > 4), lambda i: i // 2 if i % 2 == 0 else -1],
    ids=["renamed", "first removed", "one in the middle removed", "every other removed"],
)
def test_layers_of_one_shape_are_found_under_other_names(tmp_path, profile, number):
    old = {f"layer.{i:02}": pruned_and_shared((60, 100), 0.2, 32, i) for i in range(12)}
    changed = retrained(old)
    # of two with one number the later one stays
    new = {f"layer.{number(i):02}": changed[f"layer.{i:02}"] for i in range(12) if number(i) >= 0}
    sizes = patched(tmp_path, old, new, profile)
    assert sizes.patch_bytes < 0.36 * sizes.new_bytes


@pytest.mark.parametrize("dtype", ["F16", "F64"])
def test_retrained_weights_may_get_another_dtype(tmp_path, dtype):
    old = {"w": pruned_and_shared((100, 200), 0.2, 16, 0)}
    changed = retrained(old)["w"]
    codebook = changed.codebook.astype(STORAGE[dtype])
    new = {"w": CompressedTensor(changed.shape, changed.positions, codebook, changed.codes, dtype)}
    sizes = patched(tmp_path, old, new)
    assert sizes.kind == "plain"
    assert sizes.patch_bytes < 0.36 * sizes.new_bytes


@pytest.mark.parametrize("profile", PROFILES)
def test_a_new_tensor_takes_itself_alone(tmp_path, profile):
    table = DenseTensor.from_numpy(np.random.default_rng(0).integers(0, 256, 5000, np.uint8))
    assert patched(tmp_path, network(), {**network(), "new": table}, profile).patch_bytes < 5100


@pytest.mark.parametrize("new_profile", PROFILES)
@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_may_change(tmp_path, profile, new_profile):
    sizes = patched(tmp_path, network(), retrained(network()), profile, new_profile)
    assert sizes.patch_bytes < 0.36 * sizes.new_bytes


def test_elements_that_moved_a_little_take_the_bytes_that_moved(tmp_path):
    generator = np.random.default_rng(0)
    old = generator.standard_normal(4000).astype(np.float32)
    moved = old * (1 + 1e-5 * generator.standard_normal(4000)).astype(np.float32)
    sizes = patched(tmp_path, {"w": DenseTensor.from_numpy(old)}, {"w": DenseTensor.from_numpy(moved)})
    assert sizes.patch_bytes < 0.4 * sizes.new_bytes
    few = np.where(np.arange(4000) % 100 == 0, moved, old)
    sizes = patched(tmp_path, {"w": DenseTensor.from_numpy(old)}, {"w": DenseTensor.from_numpy(few)})
    assert sizes.patch_bytes < 0.02 * sizes.new_bytes


def test_pruned_elements_that_stay_pruned_take_nothing(tmp_path):
    generator = np.random.default_rng(0)
    old = generator.standard_normal(40_000).astype(np.float32) * (generator.random(40_000) < 0.05)
    new = old * np.float32(1.0001)
    pair = [{"w": DenseTensor.from_numpy(each.astype(np.float32))} for each in (old, new)]
    sizes = patched(tmp_path, *pair, "fast")
    assert sizes.patch_bytes < 0.6 * sizes.new_bytes


CASES = all_cases()


@pytest.mark.parametrize("part", range(16))
def test_any_tensor_may_become_any_other(tmp_path, part):
    names, profile = list(CASES)[part::16], list(PROFILES)[part % len(PROFILES)]
    for before, after in zip(names, names[1:] + names[:1], strict=True):
        patched(tmp_path, {"a": CASES[before], "b": CASES[after]}, {"a": CASES[after], "b": CASES[before]}, profile)


@pytest.mark.parametrize("dtype", ["F64", "F16", "BF16", "I8", "U8", "I64", "C128", "I4"])
def test_every_kind_of_element_may_change_a_little(tmp_path, dtype):
    before = dense(dtype, (40, 50))
    after = DenseTensor.of_bytes(dtype, (40, 50), before.elements.reshape(-1).view(np.uint8).copy())
    after.elements.reshape(-1).view(np.uint8)[:: 16 if dtype == "C128" else 8] ^= 1
    sizes = patched(tmp_path, {"w": before}, {"w": after})
    assert sizes.patch_bytes < 0.3 * sizes.new_bytes


def test_new_files_of_any_length_end_with_a_change(tmp_path):
    """Boards write chunks of 64 bytes, of which the last may hold any number."""
    before, after = dense("F32", (100,)), dense("F32", (100,))
    after.elements.view("<u4")[:] += 1 + np.arange(100, dtype=np.uint32) % 7
    for count in range(30, 47):
        for text in ("", "x"):
            pair = [{"w": DenseTensor("F32", each.elements[:count].copy())} for each in (before, after)]
            patched(tmp_path, *pair, metadata={"is": "old" + text})


def test_sparse_bytes_may_change(tmp_path):
    generator = np.random.default_rng(0)
    weights = (generator.integers(-9, 10, (50, 80)) * (generator.random((50, 80)) < 0.2)).astype(np.int8)
    changed = (weights + np.sign(weights) * (generator.random((50, 80)) < 0.2)).astype(np.int8)
    pair = [{"w": DenseTensor.from_numpy(each)} for each in (weights, changed)]
    sizes = patched(tmp_path, *pair)
    with dc.DczFile(tmp_path / "new.dcz") as file:
        assert file.entries["w"].coder == "device"
    assert sizes.patch_bytes < 0.4 * sizes.new_bytes


def test_a_patch_states_what_a_board_needs(tmp_path):
    sizes = patched(tmp_path, network(), retrained(network()))
    assert 0 < sizes.work_bytes < 2000
    assert sizes.in_place_bytes % 4096 == 0
    assert sizes.new_bytes < sizes.in_place_bytes < 3 * sizes.new_bytes + 3 * 4096


@pytest.mark.parametrize("work_bytes", [0, 100, 200, 300])
def test_a_board_of_little_memory_gets_a_patch_that_it_can_apply(tmp_path, work_bytes):
    old, new = network(), retrained(network())
    free = patched(tmp_path, old, new)
    tight = dc.make_patch(tmp_path / "old.dcz", tmp_path / "new.dcz", tmp_path / "tight.dcp", work_bytes=work_bytes)
    assert tight.work_bytes <= work_bytes < free.work_bytes
    assert free.patch_bytes < tight.patch_bytes <= tight.new_bytes
    dc.apply_patch(tmp_path / "old.dcz", tmp_path / "tight.dcp", tmp_path / "made.dcz")
    assert (tmp_path / "made.dcz").read_bytes() == (tmp_path / "new.dcz").read_bytes()


@pytest.mark.parametrize("symbols", [7, 1000])
def test_streams_are_the_same_however_many_symbols_are_sorted_at_a_time(tmp_path, monkeypatch, symbols):
    for pair in ((network(), retrained(other_masks(network()))), (network(), retrained(network(), part=0.01))):
        patched(tmp_path, *pair)
        wanted = (tmp_path / "patch.dcp").read_bytes()
        monkeypatch.setattr(huffman, "_SLICE", symbols)
        patched(tmp_path, *pair)
        assert (tmp_path / "patch.dcp").read_bytes() == wanted
        monkeypatch.undo()
