"""Measures what products cost on this machine, and fits the table by which `run` decides what pays."""
