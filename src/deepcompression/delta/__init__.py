"""Patches: the bytes that make a new `.dcz` file of an old one (docs/format.md, "Patch").

Imports common, tensors, coding and file.
"""
