"""The `.dcz` file: index, reader, writers, and the report of where its bytes went.

Imports coding and what that imports.
"""
