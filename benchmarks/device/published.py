"""Figures of other runtimes for boards, as published or measured once: they cannot be built from packages here."""

from __future__ import annotations

# Instructions of CMSIS-NN's arm_fully_connected_s8 for the dense layer: measured once with the same counter.
CMSIS_NN = {"M0+": 102_498, "M4F": 33_967}

OTHERS = (
    "TFLite Micro and CMSIS-NN are not measured here, because no package builds them for a board. PyPI's "
    "`tflite-micro` has an interpreter for the host alone, Debian and npm have neither, and `emlearn` has no "
    "convolutions. What others publish for digits of MNIST stands beside, as published:"
)

# runtime, network, memory, time
PUBLISHED = (
    ("BitNetMCU, CH32V002 at 48 MHz", "3.2 KB, 98.92 %", "of 4 KB RAM", "14.3 ms"),
    ("BitNetMCU, CH32V002 at 48 MHz", "9.3 KB, 99.44 %", "of 4 KB RAM", ""),
    ("BitNetMCU, CH32V002 at 48 MHz", "11.0 KB, 99.55 %", "of 4 KB RAM", "57 ms"),
    ("TinyMaix, code below 3 KB", "2.4 KB flash", "1.4 KB RAM", ""),
)
