"""What `make device` measures: arrays of the layer, stacks from graphs of calls, demands, the page; without tools."""

import re
from collections import Counter

import numpy as np

from benchmarks.device import __main__ as device
from benchmarks.device import layer, prices
from benchmarks.device.boards import BOARDS_OF
from benchmarks.device.page import device as page


def arrays_of(header):
    found = re.findall(r"static const (\w+) (\w+)\[\] = \{([^}]*)\};", header)
    return {name: np.array([float(each.rstrip("f")) for each in values.split(", ")]) for _, name, values in found}


def test_the_layer_s_pairs_are_its_dense_weights_and_give_the_expected_outputs(tmp_path):
    held = layer.write_layer(tmp_path)
    arrays = arrays_of((tmp_path / "layer_data.h").read_text())
    pairs, dense = arrays["pairs"].astype(int).reshape(-1, 2), np.zeros((layer.ROWS, layer.COLS))
    at = 0
    for row, count in enumerate(arrays["counts"].astype(int)):
        columns = np.cumsum(pairs[at : at + count, 0] + 1) - 1
        dense[row, columns] = pairs[at : at + count, 1].astype(np.uint8).astype(np.int8)
        at += count
    assert held["entries"] == at == 1669
    assert np.array_equal(dense.reshape(-1), arrays["dense"])
    sums = dense @ arrays["x"] + arrays["bias"]
    rounded = np.floor(sums * layer.MULTIPLIER / 2.0**layer.POST + 0.5)
    assert np.array_equal(np.clip(rounded, -127, 127), arrays["expected"])
    assert len(set(arrays["expected"])) > 20


def test_the_deepest_chain_of_calls_is_the_stack(monkeypatch):
    sizes = {"a.c:top": 10, "left": 20, "right": 5, "b.c:leaf": 100, "through": 7}
    calls = {"a.c:top": {"left", "right"}, "right": {"b.c:leaf", "memcpy"}, "left": {prices.INDIRECT}}
    titles = {"top": "a.c:top", "left": "left", "right": "right", "leaf": "b.c:leaf", "through": "through"}
    monkeypatch.setattr(prices, "_call_graph", lambda *_: prices.CallGraph(sizes, calls, titles))
    board = BOARDS_OF["M0+"]
    assert prices.stack_of(board, prices.Price("", ("top",))) == 115
    sizes["through"] = 1000
    assert prices.stack_of(board, prices.Price("", ("top", "leaf"), called=("through",))) == 1030


def result():
    instructions = {"dense int8": 9, "int8, packed": 25_000, "int8, coded": 90_000}
    board = {
        **{"machine": "m", "inputs": 4, "difference": 0.0, "same class as in Python": 4, "same class as torch": 3},
        **{"instructions": 5, "flash": 20_480, "state": 1000, "stack": 36, "ram": 1036, "input and output": 1},
    }
    networks = {
        name: {"weights and constants": 1, "largest pair": 0, "boards": {"M0+": dict(board), "M4F": dict(board)}}
        for name in ("LeNet-5, int8, coded", "GRU, float32, packed")
    }
    bytes_ = {"entries": 1, "dense": 2, "packed": 3, "file": 4}
    price = {"name": "Linear", "added": True, "work": "none", "M0+": {"text": 1, "stack": 2}}
    return {
        "layer": {"bytes": bytes_, "instructions": {"M0+": dict(instructions), "M4F": dict(instructions)}},
        "networks": networks,
        "prices": [price],
        "small": {"int8": 8191, "float32": 9999},
    }


def missed(found):
    return [each["demand"] for each in device.demands(found) if not each["met"]]


def test_results_at_the_limits_meet_all_demands_and_beyond_them_none():
    assert missed(result()) == []
    far = result()
    for board in far["layer"]["instructions"].values():
        board |= {"int8, packed": 36_001, "int8, coded": 125_001}
    far["small"]["int8"] = 8192
    for network in far["networks"].values():
        network["boards"]["M0+"] |= {"flash": 20_481, "ram": 1537, "difference": 1.1e-5}
    assert len(missed(far)) == len(device.demands(far)) == 4 + 2 + 2 * 2


def test_a_board_with_another_class_or_bit_is_seen():
    for change in ({"same class as in Python": 3}, {"difference": 1e-9}):
        found = result()
        found["networks"]["LeNet-5, int8, coded"]["boards"]["M4F"] |= change
        assert len(missed(found)) == 1


def test_the_page_has_a_row_for_each_board_network_and_price():
    text = "\n".join(page(result()))
    rows = Counter(line.split(" | ")[0] for line in text.splitlines() if line.startswith("| "))
    for row in ("M0+", "M4F", "LeNet-5, int8, coded, M0+", "GRU, float32, packed, M4F", "+ Linear"):
        assert rows[f"| {row}"] == 1
    assert "102,498" in text
