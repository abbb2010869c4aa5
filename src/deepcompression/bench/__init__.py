"""What computing from the compressed form brings on this machine, measured layer by layer for a file."""

from deepcompression.bench.measure import bench
from deepcompression.bench.results import BenchResult, LayerResult, Settings
from deepcompression.bench.table import lines, tables

__all__ = ["BenchResult", "LayerResult", "Settings", "bench", "lines", "tables"]
