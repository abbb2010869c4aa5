"""Stage 3: tensors <-> payload bytes, one coder a file, and the table of coders.

Imports common and tensors.
"""
