"""All stages on a torch model, on one process or several: masks, codebooks, saving, resuming.

Imports checkpoint, file, recipe, sharing and the rooms that those import.
"""
