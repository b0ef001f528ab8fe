"""UICI's vocabulary: configuration, desired-state types, operations, errors.

The lowest layer. `executors`, `monitoring` and `flows` import from here; nothing
here imports from them.
"""
