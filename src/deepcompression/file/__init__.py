"""The `.dcz` file: index, reader, writers, and the report on its bytes.

Imports coding, checkpoint, and what these import.
"""
