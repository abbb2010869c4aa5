"""Callbacks for other people's trainers: `transformers` (Hugging Face) and `lightning`, each imported by itself, since
each needs its library. Accelerate and plain loops need none: they call `pruner.step()`.
"""
