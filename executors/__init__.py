"""Executors: one module an environment, each the only home of its SDK."""
