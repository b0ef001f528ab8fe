"""Prefect at the edge: server, deployment, warm worker, flow, listener."""
