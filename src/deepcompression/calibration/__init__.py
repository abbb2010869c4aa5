"""Compression by calibration inputs: the cost of errors of weights, and plans for a target.

Imports training, nn, file, checkpoint and what those import.
"""
