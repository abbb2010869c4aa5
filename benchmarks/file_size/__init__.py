"""Sizes of files beside what other coders make of the same tensors."""
