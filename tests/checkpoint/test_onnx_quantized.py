"""Quantized weights of ONNX models: known by the nodes that take them, whatever their names."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import FLOAT, constant, raw, value, weights

from deepcompression.checkpoint import open_checkpoint, recognise
from deepcompression.checkpoint.onnx.quantized import quantized_by_nodes
from deepcompression.convert.to_dcz import compress_checkpoint
from deepcompression.file.reader import load_tensors
from deepcompression.recipe.recipe import Recipe

CONTRIB = "com.microsoft"
OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid(CONTRIB, 1), helper.make_opsetid("own", 1)]


def node(kind, inputs, outputs, domain="", **attributes):
    return helper.make_node(kind, inputs, outputs, domain=domain, **attributes)


def codes(name="q", shape=(64, 32), dtype=np.uint8):
    values = np.random.default_rng(1).integers(0, 100, shape)
    return raw(name, values.astype(dtype))


def scales(name="s", shape=(64, 2)):
    return raw(name, weights(shape, 2) ** 2 + np.float32(0.1))


def of_four_bits(name="q", shape=(64, 64)):
    data = np.random.default_rng(0).bytes(int(np.prod(shape)) // 2)
    return TensorProto(name=name, data_type=TensorProto.INT4, dims=shape, raw_data=data)


def exact_in(path, nodes, tensors, functions=()):
    """The exact tensors of a model that also multiplies by the float weight `v`."""
    nodes = [*nodes, node("MatMul", ["x", "v"], ["y"])]
    graph = helper.make_graph(nodes, "g", [value("x", (1, 64))], [value("y", (1, 64))], [*tensors, raw("v", V)])
    onnx.save(helper.make_model(graph, opset_imports=OPSETS, ir_version=10, functions=functions), path)
    with recognise(open_checkpoint(path)) as source:
        return set(source.exact)


V = weights((64, 64))

BY_OPERATORS = {
    "MatMulNBits": ([node("MatMulNBits", ["x", "q", "s"], ["h"], CONTRIB)], [codes(), scales()]),
    "MatMulBnb4": ([node("MatMulBnb4", ["x", "q", "s"], ["h"], CONTRIB)], [codes(shape=(2048,)), scales()]),
    "GatherBlockQuantized": ([node("GatherBlockQuantized", ["q", "i", "s"], ["h"], CONTRIB)], [codes(), scales()]),
    "QMoE": (
        [node("QMoE", ["x", "r", "q", "s", "b", "q2", "s2"], ["h"], CONTRIB)],
        [
            *(codes("q", (2, 64, 32)), scales("s", (2, 64)), scales("b", (2, 64))),
            *(codes("q2", (2, 64, 32)), scales("s2", (2, 64))),
        ],
    ),
    "DequantizeLinear": ([node("DequantizeLinear", ["q", "s", "z"], ["h"])], [codes(), scales(), codes("z", (64, 2))]),
    "DequantizeLinear of 16 bits": ([node("DequantizeLinear", ["q", "s"], ["h"])], [codes(dtype=np.int16), scales()]),
    "QLinearMatMul": (
        [node("QLinearMatMul", ["a", "sa", "za", "q", "s", "z", "sy", "zy"], ["h"])],
        [codes(), scales(shape=(1, 32)), codes("z", (32,))],
    ),
    "DynamicQuantizeMatMul": ([node("DynamicQuantizeMatMul", ["x", "q", "s"], ["h"], CONTRIB)], [codes(), scales()]),
    "an operator of somebody": ([node("MyLinear", ["x", "q", "s"], ["h"], "mine")], [codes(), scales()]),
    "MatMulInteger": (
        [
            node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
            node("MatMulInteger", ["xq", "q", "xz"], ["i"]),
            node("Cast", ["i"], ["f"], to=FLOAT),
            node("Mul", ["xs", "s"], ["both"]),
            node("Mul", ["f", "both"], ["h"]),
        ],
        [codes(), scales(shape=(1, 32))],
    ),
    "by hand": (
        [
            node("Cast", ["q"], ["f"], to=FLOAT),
            node("Sub", ["f", "z"], ["c"]),
            node("Mul", ["c", "s"], ["w"]),
            node("MatMul", ["x", "w"], ["h"]),
        ],
        [codes(shape=(64, 64), dtype=np.int32), scales(shape=(64, 1)), scales("z", (64, 1))],
    ),
    "by hand, scaled behind the product": (
        [
            node("Cast", ["q"], ["f"], to=FLOAT),
            node("MatMul", ["x", "f"], ["p"]),
            node("Mul", ["p", "s"], ["h"]),
        ],
        [codes(shape=(64, 64)), scales(shape=(1, 64))],
    ),
    "an embedding by hand": (
        [
            node("Gather", ["q", "i"], ["r"]),
            node("Cast", ["r"], ["f"], to=FLOAT),
            node("Gather", ["s", "i"], ["rs"]),
            node("Mul", ["rs", "f"], ["h"]),
        ],
        [codes(), scales(shape=(64, 1))],
    ),
}


@pytest.mark.parametrize("kind", BY_OPERATORS)
def test_what_a_node_decodes_is_exact(kind, tmp_path):
    nodes, tensors = BY_OPERATORS[kind]
    assert exact_in(tmp_path / "m.onnx", nodes, tensors) == {each.name for each in tensors}


def test_codes_of_four_bits_are_exact_with_their_scales(tmp_path):
    nodes = [node("DequantizeLinear", ["q", "s"], ["h"], axis=0, block_size=32)]
    assert exact_in(tmp_path / "m.onnx", nodes, [of_four_bits(), scales()]) == {"q", "s"}


def test_a_float_weight_that_the_graph_quantizes_itself_is_a_weight_and_its_scales_are_not(tmp_path):
    nodes = [node("QuantizeLinear", ["w", "s"], ["c"], axis=1), node("DequantizeLinear", ["c", "s"], ["h"], axis=1)]
    assert exact_in(tmp_path / "m.onnx", nodes, [raw("w", weights((64, 64), 5)), scales()]) == {"s"}


@pytest.mark.parametrize(
    "way",
    [
        [node("Reshape", ["s", "shape"], ["t"])],
        [node("Cast", ["s"], ["t"], to=TensorProto.FLOAT16)],
        [node("Transpose", ["s"], ["u"]), node("Identity", ["u"], ["t"])],
        [node("Mul", ["s", "shared"], ["t"])],
        [constant("t", scales("anything"))],
    ],
)
def test_scales_are_found_through_operators_that_keep_values(way, tmp_path):
    nodes = [*way, node("Identity", ["q"], ["c"]), node("MatMulNBits", ["x", "c", "t"], ["h"], CONTRIB)]
    expected = {"q", "t"} if way[0].op_type == "Constant" else {"q", "s"}
    assert (
        exact_in(
            tmp_path / "m.onnx",
            nodes,
            [codes(), scales(), raw("shape", np.array([2, 64])), raw("shared", np.float32(2))],
        )
        == expected
    )


def test_scales_are_found_in_subgraphs(tmp_path):
    def branch(name, own):
        nodes = [node("MatMulNBits", ["x", "q", own], [f"h{own}"], CONTRIB)]
        return helper.make_graph(nodes, name, [], [value(f"h{own}")], [scales("inner")])

    nodes = [node("If", ["c"], ["h"], then_branch=branch("a", "s"), else_branch=branch("b", "inner"))]
    nodes[0].name = "if"
    found = exact_in(tmp_path / "m.onnx", nodes, [codes(), scales()])
    assert found == {"q", "s", "if.else_branch/inner"}


def test_scales_are_found_in_functions(tmp_path):
    inner = [
        node("DequantizeLinear", ["codes", "scale"], ["w"], axis=1),
        node("Transpose", ["w"], ["t"]),
        node("MatMul", ["input", "t"], ["output"]),
    ]
    linear = helper.make_function("own", "Linear", ["input", "codes", "scale"], ["output"], inner, OPSETS[:1])
    nodes = [node("Linear", ["x", "q", "s"], ["h"], "own"), node("Linear", ["x", "q", "s2"], ["h2"], "own")]
    assert exact_in(tmp_path / "m.onnx", nodes, [codes(), scales(), scales("s2")], [linear]) == {"q", "s", "s2"}


ORDINARY = {
    "indices": [node("Gather", ["w", "i"], ["h"])],
    "a product with a small integer": [node("Cast", ["n"], ["f"], to=FLOAT), node("Mul", ["w", "f"], ["h"])],
    "a weight behind normalised inputs": [
        node("Add", ["x", "w"], ["p"]),
        node("MatMulNBits", ["p", "q", "s"], ["h"], CONTRIB),
    ],
    "a weight in a sum with an index": [node("Cast", ["i"], ["f"], to=FLOAT), node("MatMul", ["x", "w"], ["h"])],
    "a bool mask": [node("Where", ["b", "w", "v"], ["h"])],
    "a bool mask as a factor": [node("Cast", ["b"], ["f"], to=FLOAT), node("Mul", ["w", "f"], ["h"])],
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_weights_beside_other_integers_stay_weights(kind, tmp_path):
    tensors = [
        *(raw("w", weights((64, 64), 4)), raw("i", np.arange(64)), raw("n", np.array(8)), codes(), scales()),
        raw("b", np.eye(64, dtype=bool)),
    ]
    assert "w" not in exact_in(tmp_path / "m.onnx", ORDINARY[kind], tensors)


def test_a_function_that_calls_itself_ends(tmp_path):
    graph = helper.make_graph([node("F", ["x"], ["y"], "own")], "g", [value("x")], [value("y")])
    function = helper.make_function("own", "F", ["x"], ["y"], [node("F", ["x"], ["y"], "own")], OPSETS)
    model = helper.make_model(graph, opset_imports=OPSETS, functions=[function])
    assert quantized_by_nodes(model.SerializeToString()) == []


def test_a_recipe_changes_weights_and_nothing_that_is_quantized(tmp_path):
    nodes, tensors = BY_OPERATORS["QMoE"]
    exact_in(tmp_path / "m.onnx", nodes, tensors)
    with open_checkpoint(tmp_path / "m.onnx") as source:
        # also where nobody asked for the traces of other tools
        compress_checkpoint(source, tmp_path / "m.dcz", Recipe.load("share-smaller"))
        before = {name: source.read(name).numpy() for name in source.entries}
    after = load_tensors(tmp_path / "m.dcz")
    changed = [name for name, array in before.items() if not np.array_equal(array, after[name])]
    assert changed == ["v"]


def test_codes_are_known_whatever_the_order_of_the_nodes(tmp_path):
    """ONNX Runtime takes any order, and tools write some."""
    nodes, tensors = BY_OPERATORS["by hand"]
    in_order = exact_in(tmp_path / "m.onnx", nodes, tensors)
    assert in_order == exact_in(tmp_path / "m.onnx", nodes[::-1], tensors) != set()
