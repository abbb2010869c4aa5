"""Networks that others trained, out of pinned packages, with inputs generated here and a score of their task."""
