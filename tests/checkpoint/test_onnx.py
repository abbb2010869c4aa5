"""ONNX models: the tensors taken out of them, and models put back that run to the same bits."""

import tracemalloc

import numpy as np
import onnx
import pytest
from cases import content, dense
from onnx import TensorProto, helper, numpy_helper
from onnx_models import MODELS, back, chain, constant, fields, large, model_of, raw, run, save, value, weights

from deepcompression.checkpoint import GRAPH, TensorEntry, open_checkpoint, read_tensors, write_checkpoint
from deepcompression.checkpoint.onnx import graph
from deepcompression.checkpoint.onnx import write as writing
from deepcompression.common import binary
from deepcompression.common.binary import FormatError
from deepcompression.tensors.tensor import DenseTensor


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def external(model, path, **options):
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, **options)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_to_the_same_bits_of_its_outputs(name, path):
    save(MODELS[name](), path)
    assert run(back(path)) == run(path)
    onnx.checker.check_model(back(path), full_check=True)


@pytest.mark.parametrize("name", MODELS)
def test_other_tensors_give_other_outputs(name, path):
    """Each tensor has a place of its own: to change one is to change the outputs."""
    save(MODELS[name](), path)
    expected = run(path)
    with open_checkpoint(path) as source:
        names = [name for name in source.entries if name != "unused"]
    for changed in names:

        def flip(name, tensor, changed=changed):
            tensor.elements.flat[::3] = 1 if name == changed else tensor.elements.flat[::3]
            return tensor

        assert run(back(path, flip)) != expected, changed


def test_tensors_are_taken_by_name(path):
    save(chain(), path)
    with open_checkpoint(path) as source:
        found = {name: (entry.dtype, entry.shape) for name, entry in source.entries.items()}
        assert found == {
            "w3": ("F32", (8, 8)),
            "w1": ("F32", (8, 8)),
            "w2": ("F32", (8, 8)),
            "half": ("F16", (8, 8)),
            "double": ("F64", (8, 8)),
            "order": ("I64", (64,)),
            "last": ("F32", (8, 8)),
        }
        for seed, name in enumerate(["w1", "w2", "w3"]):
            assert np.array_equal(source.read(name).numpy(), weights((8, 8), seed))
        assert np.array_equal(source.read("half").numpy(), weights((8, 8), 3, np.float16))
        assert source.metadata == {"format": "onnx"}


def test_names_in_subgraphs_and_functions_tell_the_way_and_never_clash(path):
    save(MODELS["branches"](), path)
    inside = {f"choose.{branch}/inner" for branch in ("then_branch", "else_branch")}
    with open_checkpoint(path) as source:
        assert set(source.entries) == inside | {
            "choose.then_branch/w",
            "choose.then_branch/w#2",
            "choose.else_branch/w",
        }
        assert np.array_equal(source.read("choose.then_branch/w").numpy(), weights((8, 8), 9))
    save(MODELS["function"](), path)
    with open_checkpoint(path) as source:
        assert list(source.entries) == ["w", "own.Twice/w"]


def test_the_name_of_the_graph_is_kept_for_it(path):
    save(model_of([helper.make_node("MatMul", ["x", GRAPH], ["y"])], [raw(GRAPH, weights((8, 8)))]), path)
    with open_checkpoint(path) as source:
        assert list(source.entries) == [f"{GRAPH}#2"]
    assert run(back(path)) == run(path)


def test_the_graph_has_no_data_of_tensors(path):
    save(large(), path)
    with open_checkpoint(path) as source:
        graph = source.graph
        assert sum(entry.nbytes for entry in source.entries.values()) > 80_000
    assert len(graph) < 2500
    model = onnx.ModelProto.FromString(graph)
    assert [list(tensor.dims) for tensor in model.graph.initializer] == [[8, 1000], [1000, 8], [300, 8], [3000]]
    assert [node.op_type for node in model.graph.node] == [node.op_type for node in large().graph.node]


def test_small_tensors_strings_sparse_ones_and_unknown_dtypes_stay_in_the_graph(path):
    model = large()
    model.graph.initializer.append(helper.make_tensor("words", TensorProto.STRING, [40], [b"word"] * 40))
    model.graph.initializer.append(TensorProto(name="later", data_type=99, dims=[9000], raw_data=bytes(9000)))
    model.graph.initializer.append(raw("few", weights((31,))))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["few"], ["no"], value=raw("", weights((1,)))))
    path.write_bytes(model.SerializeToString())
    with open_checkpoint(path) as source:
        assert set(source.entries) == {"wide", "long", "back", "unused", "large constant"}
        kept = onnx.ModelProto.FromString(source.graph)
    for tensor in model.graph.initializer[-3:]:
        assert tensor in kept.graph.initializer
    assert kept.graph.node[2] == model.graph.node[2]
    assert kept.graph.node[-1] == model.graph.node[-1]


@pytest.mark.parametrize("dtype", [dtype for dtype in graph.DTYPES.values() if dtype != "BOOL"])
def test_every_dtype_comes_back_bit_for_bit(dtype, path):
    number = next(number for number, name in graph.DTYPES.items() if name == dtype)
    for shape in [(6, 1000), (5, 7)]:
        part = dense(dtype, shape).elements.tobytes()
        found = TensorProto(name="w", data_type=number, dims=shape, raw_data=part)
        path.write_bytes(model_of([helper.make_node("Identity", ["x"], ["y"])], [found]).SerializeToString())
        with open_checkpoint(path) as source:
            assert source.entries["w"] == TensorEntry("w", dtype, shape)
            assert source.read("w").elements.tobytes() == part
        written = onnx.load(back(path)).graph.initializer[0]
        assert written == found


@pytest.mark.parametrize(("dtype", "number"), [("U4", 21), ("I4", 22), ("F4", 23), ("U2", 25), ("F6_E2M3", 27)])
def test_packed_elements_in_int32_data_are_read(dtype, number, path):
    # ONNX puts the bytes of packed elements there, but whole elements of 6 bits
    packed = DenseTensor.of_bytes(dtype, (45,), dense(dtype, (45,)).elements)
    data = packed.numpy() if dtype == "F6_E2M3" else packed.elements
    tensor = TensorProto(name="q", data_type=number, dims=[45], int32_data=data)
    path.write_bytes(model_of([helper.make_node("Identity", ["x"], ["y"])], [tensor]).SerializeToString())
    with open_checkpoint(path) as source:
        assert np.array_equal(source.read("q").numpy(), packed.numpy())
    raw_tensor = onnx.load(back(path)).graph.initializer[0]
    assert np.array_equal(numpy_helper.to_array(raw_tensor), numpy_helper.to_array(tensor))


def test_bfloat16_and_bool_in_int32_data_are_read(path):
    halves = np.arange(100)
    tensors = [
        TensorProto(name="b", data_type=TensorProto.BFLOAT16, dims=[100], int32_data=halves),
        TensorProto(name="t", data_type=TensorProto.BOOL, dims=[100], int32_data=halves % 2),
    ]
    path.write_bytes(model_of([helper.make_node("Identity", ["x"], ["y"])], tensors).SerializeToString())
    with open_checkpoint(path) as source:
        assert np.array_equal(source.read("b").elements, halves)
        assert np.array_equal(source.read("t").elements, halves % 2)


def test_a_tensor_that_is_read_can_be_changed_without_changing_the_next(path):
    save(chain(), path)
    with open_checkpoint(path) as source:
        for name in source.entries:
            before = content(source.read(name))
            source.read(name).elements.fill(0)
            assert content(source.read(name)) == before


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_external_data_are_read_from_their_files(name, together, path):
    save(MODELS[name](), path)
    expected = run(path)
    apart = path.with_name("apart.onnx")
    external(MODELS[name](), apart, all_tensors_to_one_file=together, location="weights.bin" if together else None)
    assert run(back(apart)) == expected


def test_data_beside_a_model_are_read_one_tensor_at_a_time(path):
    tensors = [raw(f"w{number}", weights((1 << 20,), number)) for number in range(3)]
    external(model_of([helper.make_node("Identity", ["x"], ["y"])], tensors), path, location="weights.bin")
    tracemalloc.start()
    try:
        with open_checkpoint(path) as source:
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
            for number in range(3):
                assert np.array_equal(source.read(f"w{number}").numpy(), weights((1 << 20,), number))
            tracemalloc.reset_peak()
            for entry in source.entries.values():
                source.read(entry.name)
            assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


def test_a_model_in_one_file_is_read_when_it_is_opened(path):
    save(chain(), path)
    with open_checkpoint(path) as source:
        path.unlink()
        assert np.array_equal(source.read("w1").numpy(), weights((8, 8), 0))


def test_what_stays_in_the_graph_is_taken_from_external_data(path):
    model = large()
    model.graph.initializer.append(TensorProto(name="later", data_type=99, dims=[9000], raw_data=bytes(9000)))
    model.graph.initializer[-1].raw_data = bytes(range(250)) * 18
    model.graph.initializer[-1].ClearField("int32_data")
    expected = model.graph.initializer[-1].raw_data
    external(model, path, location="weights.bin")
    with open_checkpoint(path) as source:
        kept = onnx.ModelProto.FromString(source.graph).graph.initializer[-1]
    assert kept.raw_data == expected
    assert not kept.external_data


def with_external(path, **place):
    tensor = TensorProto(name="w", data_type=1, dims=[8, 8], data_location=TensorProto.EXTERNAL)
    for key, text in place.items():
        tensor.external_data.add(key=key, value=text)
    path.write_bytes(model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], [tensor]).SerializeToString())


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"location": "../w"}, "names the file '../w', which is not inside of its folder"),
        ({"location": "/etc/passwd"}, "which is not inside of its folder"),
        ({"location": "gone"}, "gone, which holds data of the model, is missing"),
        ({"location": "w", "offset": "4"}, "'w': it has 252 bytes, expected 256"),
        ({"location": "w", "length": "257"}, "'w': its 257 bytes at offset 0 are not in .*w, which has 256"),
        ({"location": "w", "offset": "-1"}, "'w': its 257 bytes at offset -1 are not in"),
        ({"location": "w", "offset": "x"}, "'w': the place of its data is no number"),
        ({"location": "w", "length": "255"}, r"'w': it has 255 bytes, expected 256 for \[8, 8\] of F32"),
    ],
)
def test_external_data_that_are_not_there_are_refused(place, words, path):
    (path.parent / "w").write_bytes(bytes(256))
    with_external(path, **place)
    with pytest.raises(FormatError, match=f"model.onnx: .*{words}"):
        open_checkpoint(path)


def test_a_model_beyond_two_gigabytes_is_refused_with_a_remedy(path):
    with path.open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(FormatError, match="at most 2147483647: larger models have their data in files beside it"):
        open_checkpoint(path)


@pytest.mark.parametrize("name", MODELS)
def test_what_one_file_cannot_hold_is_written_beside_it(name, path, monkeypatch):
    save(MODELS[name](), path)
    monkeypatch.setattr(writing, "MAX_BYTES", 100)
    out = back(path)
    assert {file.name for file in path.parent.iterdir()} == {"model.onnx", "back.onnx", "back.onnx.data"}
    monkeypatch.undo()
    onnx.checker.check_model(out, full_check=True)
    assert run(out) == run(path)


def test_a_failure_leaves_the_old_model(path, monkeypatch):
    save(chain(), path)
    tensors, metadata = read_tensors(path)
    out = path.with_name("out.onnx")
    out.write_bytes(b"old")
    for most in (1 << 30, 100):
        monkeypatch.setattr(writing, "MAX_BYTES", most)

        def fail(name):
            raise OSError("disk full")

        entries = {name: TensorEntry(name, t.dtype, t.shape) for name, t in tensors.items() if name != GRAPH}
        with pytest.raises(OSError, match="disk full"):
            write_checkpoint(out, entries, fail, metadata, tensors[GRAPH].elements.tobytes())
        assert out.read_bytes() == b"old"
        assert {file.name for file in path.parent.iterdir()} == {"model.onnx", "out.onnx"}


def test_the_same_tensors_give_the_same_bytes(path):
    save(large(), path)
    assert back(path).read_bytes() == back(path).read_bytes()


def test_repeated_data_of_one_tensor_are_left_to_the_package(path):
    """Packed floats may come in several fields."""
    tensor = fields("w", weights((80, 80)))
    half = TensorProto(float_data=weights((80, 80)).reshape(-1)[:10].tolist()).SerializeToString()
    joined = TensorProto(name="w", data_type=1, dims=[80, 80], float_data=tensor.float_data[10:])
    message = half + joined.SerializeToString()
    model = model_of([helper.make_node("Identity", ["x"], ["y"])]).SerializeToString()
    graph = b"\x2a" + binary.varint(len(message)) + message
    path.write_bytes(model + b"\x3a" + binary.varint(len(graph)) + graph)
    with open_checkpoint(path) as source:
        assert np.array_equal(source.read("w").numpy(), weights((80, 80)))


def test_what_is_imported_by_name_only_is_no_constant(path):
    """A Constant of another domain, or one with other attributes, is not ours to take."""
    nodes = [
        constant("ours", raw("", weights((8, 8)))),
        helper.make_node("Constant", [], ["theirs"], value=raw("", weights((8, 8))), domain="other"),
        helper.make_node("Constant", [], ["floats"], value_floats=[1.0] * 64),
        helper.make_node("Identity", ["x"], ["y"]),
    ]
    path.write_bytes(model_of(nodes, inputs=[value("z")]).SerializeToString())
    with open_checkpoint(path) as source:
        assert list(source.entries) == ["ours"]
        assert numpy_helper.to_array(onnx.ModelProto.FromString(source.graph).graph.node[1].attribute[0].t).size == 64
