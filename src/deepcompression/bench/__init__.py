"""Benchmarks of a file's layers on this machine, dense and from their compressed form.

Imports nn, runtime, packed, file and what those import.
"""

from deepcompression.bench.measure import bench, instruction_sets
from deepcompression.bench.results import TABLES, BenchResult, LayerResult, Settings
from deepcompression.bench.table import lines, tables

__all__ = ["TABLES", "BenchResult", "LayerResult", "Settings", "bench", "instruction_sets", "lines", "tables"]
