"""Stage 1 on arrays: criteria that choose masks, schedules that say when.

Imports common and tensors.
"""
