"""Values share memory, but never with one that is still needed."""

import numpy as np
from board_networks import NETWORKS, inputs_of, network
from hypothesis import given
from hypothesis import strategies as st

from deepcompression.embedded.arena import plan_arena
from deepcompression.embedded.fold import fold
from deepcompression.embedded.graph import Add, Clip, Concat, Graph, Linear, View, Weight
from deepcompression.embedded.torch_front import graph_of_torch


def linear(x, y, rows, columns):
    weight = Weight(y, np.zeros((rows, columns), np.float32))
    return Linear(y, (x,), y, weight, np.zeros(rows, np.float32), np.ones(rows, np.float32), 1)


def check(graph, element_bytes):
    """Runs the graph on tokens instead of numbers: every byte that an operator reads is the one that was written."""
    arena, roots = plan_arena(graph, element_bytes), graph.roots()
    memory = {"arena": [None] * arena.size, "output": [None] * graph.size(graph.output) * element_bytes}
    for name, offset in arena.offsets.items():
        assert 0 <= offset <= offset + graph.size(name) * element_bytes <= arena.size

    def place(value):
        root, offset = roots[value]
        if root in arena.output:
            return "output", offset * element_bytes
        return "arena", arena.offsets[root] + offset * element_bytes

    for each in graph.calls:
        for name in each.inputs:
            root, offset = roots[name]
            if root != graph.input:
                where, at = place(name)
                size = graph.size(name) * element_bytes
                expected = [(root, offset * element_bytes + byte) for byte in range(size)]
                assert memory[where][at : at + size] == expected
        where, at = place(each.output)
        size = graph.size(each.output) * element_bytes
        for name in each.inputs:
            # in place is the same place: another element would be read after it was written over
            if roots[name].value != graph.input and place(name)[0] == where:
                before, length = place(name)[1], graph.size(name) * element_bytes
                assert (before, length) == (at, size) or before + length <= at or at + size <= before
        memory[where][at : at + size] = [(each.output, byte) for byte in range(size)]
    where, at = place(graph.output)
    root, offset = roots[graph.output]
    assert memory[where][at] == (root, offset * element_bytes)
    return arena


def test_networks_read_what_was_written():
    for name in NETWORKS:
        graph = fold(graph_of_torch(network(name), inputs_of(name)[:1]))
        for element_bytes in (1, 4):
            check(graph, element_bytes)


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 12), st.integers(0, 5)), min_size=1, max_size=12
    )
)
def test_random_graphs_read_what_was_written(steps):
    shapes, operators = {"x": (1, 6)}, []
    for number, (first, second, size, kind) in enumerate(steps):
        names, y = list(shapes), f"v{number}"
        a, b = names[first % len(names)], names[second % len(names)]
        length = shapes[a][1]
        if kind == 0:
            made, size = linear(a, y, size, length), size
        elif kind == 1:
            made, size = Clip(y, (a,), y, length, low=0.0), length
        elif kind == 2 and shapes[a] == shapes[b]:
            made, size = Add(y, (a, b), y, length, 1), length
        elif kind == 3:
            made, size = Concat(y, (a, b), y, 1, (length, shapes[b][1])), length + shapes[b][1]
        elif kind == 4 and length % shapes[b][1] == 0:
            made, size = Add(y, (a, b), y, length, length // shapes[b][1]), length
        else:
            size = min(size, length)
            made = View(y, (a,), y, length - size, size)
        operators.append(made)
        shapes[y] = (1, size)
    last = next((each.output for each in reversed(operators) if not isinstance(each, View)), None)
    if last is not None:
        check(Graph("x", last, tuple(operators), shapes), 4)
        view = f"v{len(steps) - 1}"
        if Graph("x", view, tuple(operators), shapes).roots()[view].value != "x":
            check(Graph("x", view, tuple(operators), shapes), 1)


def test_a_chain_takes_the_largest_pair():
    sizes = [4, 100, 40, 60, 20, 8]
    operators = [linear("x" if at == 0 else f"v{at - 1}", f"v{at}", sizes[at + 1], sizes[at]) for at in range(5)]
    shapes = {"x": (1, 4), **{f"v{at}": (1, sizes[at + 1]) for at in range(5)}}
    # the input and the output are the caller's
    assert check(Graph("x", "v4", tuple(operators), shapes), 1).size == 140


def test_an_operator_writes_over_its_input_unless_that_is_needed():
    first, clip = linear("x", "a", 8, 4), Clip("b", ("a",), "b", 8, low=0.0)
    shapes = dict.fromkeys("abc", (1, 8)) | {"x": (1, 4), "d": (1, 8)}
    after = linear("b", "d", 8, 8)
    assert check(Graph("x", "d", (first, clip, after), shapes), 1).size == 8
    both = Add("c", ("b", "a"), "c", 8, 1)
    assert check(Graph("x", "d", (first, clip, both, linear("c", "d", 8, 8)), shapes), 1).size == 16


def test_a_value_is_not_written_over_while_a_part_of_it_is_read():
    part = View("b", ("a",), "b", 0, 2)
    shapes = {"x": (1, 4), "a": (1, 8), "b": (1, 2), "c": (1, 8), "d": (1, 8)}
    operators = (linear("x", "a", 8, 4), part, Add("c", ("a", "b"), "c", 8, 4), linear("c", "d", 8, 8))
    assert check(Graph("x", "d", operators, shapes), 1).size == 16
