"""Measurements of sizes and speeds: each writes a file in `results/`, and docs/results.md is made from these."""
