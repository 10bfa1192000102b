"""Tensors and JSON on disk, whole or not there at all, and how a run goes on from them. No training."""
