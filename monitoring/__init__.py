"""Readers of monitoring systems, and the configuration that users deploy for them."""
