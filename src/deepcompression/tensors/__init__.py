"""Tensors outside of torch: dtypes, dense and shared tensors, slices of them.

Imports nothing of ours but the core.
"""
