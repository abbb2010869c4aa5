"""Checkpoints and models -> `.dcz` files, and back, without a training loop.

Imports calibration and everything below it.
"""
