"""Networks that others trained, out of pinned packages, with generated inputs and a score of their task."""
