"""Measurements: sizes and speeds, each written to a file in `results/` that docs/results.md is made from."""
