"""The flow at the edge, the warm worker and `uici serve`, against a real Prefect server."""
