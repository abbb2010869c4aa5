"""Whole checkpoints and models -> `.dcz`, and back, without a training loop.

Imports calibration and everything below it.
"""
