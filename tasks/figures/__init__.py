"""Figures and pictures of results: metrics of pictures, judges of generated ones, plots. No task, no training."""
