"""Torch modules that compute from packed weights: `run` and `explain`.

Imports packed, training and what those import.
"""
