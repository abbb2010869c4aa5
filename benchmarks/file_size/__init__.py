"""Sizes of files beside those that other coders make of the same tensors."""
