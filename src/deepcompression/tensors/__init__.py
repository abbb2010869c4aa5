"""Tensors outside of torch: dtypes, names, dense and shared tensors, grids, slices of them.

Imports nothing of ours but the core.
"""
