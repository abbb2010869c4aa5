"""Stage 1 on arrays: criteria that choose masks, and schedules of how much to prune at each step.

Imports common and tensors.
"""
