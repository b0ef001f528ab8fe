"""Tests of what the loop learns."""
