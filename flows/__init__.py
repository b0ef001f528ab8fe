"""The loop: observe → compare → plan → guard → execute → verify → report."""
