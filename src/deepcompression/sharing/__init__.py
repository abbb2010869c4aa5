"""Stage 2 on arrays: codebooks, and weights fitted to their layer's inputs.

Imports pruning and the rooms that it imports.
"""
