"""This version beside an older one, task by task in one run."""
