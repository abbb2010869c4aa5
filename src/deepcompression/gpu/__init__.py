"""Kernels for GPUs, written in Triton: products with packed weights, rows of them, and blocks of files.

Imports packed and what that imports. Files named `*_kernels` need Triton; functions import them when they are called.
"""
