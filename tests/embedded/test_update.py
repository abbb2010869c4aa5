"""Weights from elsewhere in memory: an update of the same network runs, any other file is refused with its reason."""

import shutil
import struct

import numpy as np
import pytest
import torch
from board_networks import inputs_of, network, outputs_of
from device_c import BUILT, compile, run

import deepcompression as dc

TRUNCATED, CHECKSUM, NOT_FOUND = 4, 5, 7

# Prints what NAME_open_from returns for the bytes at the standard input, then the outputs of one input.
MAIN = """
#include <stdio.h>

#include "net.h"

static uint32_t file[4096];
static net_state state;
static float input[NET_INPUT_SIZE], output[NET_OUTPUT_SIZE];

int main(void) {
  dcz_source source = {(const uint8_t *)file, NULL, NULL, 0};
  dcz_error error;
  if (fread(input, sizeof input, 1, stdin) != 1) return 1;
  source.size = (uint32_t)fread(file, 1, sizeof file, stdin);
  error = net_open_from(&state, &source);
  putchar((int)error);
  if (error == DCZ_OK && net_run(&state, input, output) != DCZ_OK) return 2;
  fwrite(output, sizeof output, 1, stdout);
  return 0;
}
"""


@pytest.fixture(scope="module")
def board():
    """The exported directory, and a function of a file's bytes that gives the error and the outputs."""
    out = BUILT / "exports" / "update"
    shutil.rmtree(out, ignore_errors=True)
    dc.export(network("Cnn"), inputs_of("Cnn"), out, name="net")
    (out / "main.c").write_text(MAIN)
    sources = [path for path in sorted(out.glob("*.c")) if path.name != "net_test.c"]
    program = compile(sources, [f"-I{out}", "-O0", "-g0"], "update")

    def opened(data):
        given = inputs_of("Cnn")[0].astype("<f4").tobytes()
        found = run(program, given=given + data)
        return found[0], np.array(struct.unpack("<5f", found[1:]))

    return out, opened


def test_the_same_weights_and_new_ones_run(board, tmp_path):
    out, opened = board
    error, found = opened((out / "net_weights.dcz").read_bytes())
    assert error == 0
    np.testing.assert_allclose(found, outputs_of(network("Cnn"), inputs_of("Cnn")[:1])[0], atol=1e-5)
    model = network("Cnn")
    with torch.no_grad():
        for each in (model.conv1, model.conv2, model.fc1, model.fc2):
            each.weight.mul_(-0.75)
    dc.export(model, inputs_of("Cnn"), tmp_path / "new", name="net")
    error, found = opened((tmp_path / "new" / "net_weights.dcz").read_bytes())
    assert error == 0
    np.testing.assert_allclose(found, outputs_of(model, inputs_of("Cnn")[:1])[0], atol=1e-5)


def test_weights_for_other_biases_are_refused(board, tmp_path):
    model = network("Cnn")
    with torch.no_grad():
        model.fc1.bias.add_(1)
    dc.export(model, inputs_of("Cnn"), tmp_path / "new", name="net")
    assert board[1]((tmp_path / "new" / "net_weights.dcz").read_bytes())[0] == NOT_FOUND


def test_any_file_without_the_mark_of_the_network_is_refused(board, tmp_path):
    dc.save(network("Cnn"), tmp_path / "m.dcz", profile="device")
    assert board[1]((tmp_path / "m.dcz").read_bytes())[0] == NOT_FOUND


def test_a_file_that_is_cut_off_or_damaged_is_refused(board):
    data = bytearray((board[0] / "net_weights.dcz").read_bytes())
    assert board[1](bytes(data[:-1]))[0] == TRUNCATED
    for at in (len(data) - 1, 30):
        damaged = bytearray(data)
        damaged[at] ^= 4
        assert board[1](bytes(damaged))[0] == CHECKSUM
