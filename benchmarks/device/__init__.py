"""Layers and networks of device/ on emulated boards: instructions, flash, RAM."""
