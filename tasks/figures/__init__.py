"""Metrics of pictures, judges of generated pictures, plots. No task, no training."""
