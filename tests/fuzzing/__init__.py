"""Runs of strangers: what tests/fuzz.py is made of."""
