"""GRU and LSTM on boards: bit for bit the integers that nn.h says in int8, torch's numbers in float32."""

from __future__ import annotations

import numpy as np
import pytest
from device_layers import ERROR_SIZE, ERROR_WORK, Calls, outputs, packed_f32, packed_i8, sparse, work
from layers_twin import Gates, Recurrence, Requantize, gru_f32, gru_i8, lstm_f32, lstm_i8

GATES = {"gru": 3, "lstm": 4}
TWINS = {"gru": (gru_i8, gru_f32), "lstm": (lstm_i8, lstm_f32)}

Q11 = {"low": -32767, "high": 32767}


def _int8(rng: np.random.Generator, rows: int, cols: int) -> Gates:
    weights = sparse(rng, (rows, cols), 0.4)
    to = Requantize(rng.integers(5000, 9000, rows).astype(np.int16), 3, 14, **Q11)
    return Gates(weights, rng.integers(-9000, 9000, rows).astype(np.int32), to)


def _matrix(gates: Gates) -> tuple[object, ...]:
    rows, cols = gates.weights.shape
    if gates.to is None:
        limits = np.array([-3e38, 3e38], np.float32)
        return (rows, cols, gates.bias, limits, packed_f32(gates.weights))
    return (rows, cols, gates.bias, gates.to, packed_i8(gates.weights))


def _room(kind: str, hidden: int, size: int) -> int:
    """What nn.h says, of int8 (size 2) or float32 (4)."""
    kept = 1 if size == 2 or kind == "lstm" else 0
    return -(-(2 * GATES[kind] + kept) * hidden * size // 4) * 4


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("kind", GATES)
def test_recurrent_layers(kind: str, reverse: int) -> None:
    calls, expected = Calls(), []
    twin, twin_f = TWINS[kind]
    for steps, inputs, hidden in ((1, 1, 1), (6, 5, 7), (25, 12, 16)):
        rng = np.random.default_rng(hidden)
        rows = GATES[kind] * hidden
        of_input, of_state = _int8(rng, rows, inputs), _int8(rng, rows, hidden)
        real_input, real_state = (
            Gates(sparse(rng, (rows, n), 0.5, np.float32) * 3, rng.standard_normal(rows).astype(np.float32))
            for n in (inputs, hidden)
        )
        x = rng.integers(-127, 128, (steps, inputs)).astype(np.int8)
        x_f = rng.standard_normal((steps, inputs)).astype(np.float32)
        # all outputs, or the last alone: that is the first in time if reversed
        for stride in (hidden, 0):
            recurrence = Recurrence(steps, inputs, hidden, stride, reverse)
            shape = (steps, hidden) if stride else (1, hidden)
            kept = slice(None) if stride else slice(0, 1) if reverse else slice(steps - 1, steps)
            room, room_f = (work(more=_room(kind, hidden, size)) for size in (2, 4))
            calls.add(f"{kind}_i8_packed", shape, recurrence, _matrix(of_input), _matrix(of_state), x, room)
            expected.append(twin(recurrence, of_input, of_state, x)[kept])
            arguments = (recurrence, _matrix(real_input), _matrix(real_state), x_f, room_f)
            calls.add(f"{kind}_f32_packed", shape, *arguments)
            expected.append(twin_f(recurrence, real_input, real_state, x_f)[kept])
    for found, right in zip(outputs(calls), expected, strict=True):
        if found.dtype == np.int8:
            assert np.array_equal(found, right)
        else:
            assert np.abs(found - right).max() <= 1e-5


@pytest.mark.parametrize("kind", GATES)
def test_gates_saturate_without_overflow(kind: str) -> None:
    hidden = 4
    rows = GATES[kind] * hidden
    to = Requantize(np.array([13000], np.int16), 0, 13, **Q11)
    calls, expected = Calls(), []
    for signs in np.ndindex(*(2,) * GATES[kind]):
        bias = np.repeat(np.where(np.array(signs), 32767, -32767), hidden).astype(np.int32)
        gates = [Gates(np.full((rows, n), 127, np.int8), bias, to) for n in (2, hidden)]
        recurrence = Recurrence(5, 2, hidden, hidden, 0)
        x = np.array([[127, 127], [-127, -127], [0, 0], [127, -127], [127, 127]], np.int8)
        matrices = tuple(map(_matrix, gates))
        calls.add(f"{kind}_i8_packed", (5, hidden), recurrence, matrices, x, work(more=_room(kind, hidden, 2)))
        expected.append(TWINS[kind][0](recurrence, *gates, x))
    for found, right in zip(outputs(calls), expected, strict=True):
        assert np.array_equal(found, right)


@pytest.mark.parametrize("kind", GATES)
def test_work_that_is_too_small_and_other_shapes_are_refused(kind: str) -> None:
    rng = np.random.default_rng(0)
    hidden, inputs = 3, 2
    rows = GATES[kind] * hidden
    good, state, wide = _int8(rng, rows, inputs), _int8(rng, rows, hidden), _int8(rng, rows, inputs + 1)
    recurrence, x = Recurrence(2, inputs, hidden, 0, 0), np.zeros((2, inputs), np.int8)
    room = _room(kind, hidden, 2)
    calls = Calls()
    for first, size in ((good, room - 1), (wide, room), (state, room)):
        matrices = (_matrix(first), _matrix(state))
        calls.add(f"{kind}_i8_packed", hidden, recurrence, matrices, x, work(more=size))
    assert [error for error, _ in calls.run()] == [ERROR_WORK, ERROR_SIZE, ERROR_SIZE]
