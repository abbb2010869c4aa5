"""Packed weights in the forms that kernels compute from, and products with them.

Imports sharing and what that imports.
"""
