"""Data-aware compression: what weights are worth by calibration inputs, and plans for a target.

Imports training, nn, file, checkpoint and what those import.
"""
