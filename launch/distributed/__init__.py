"""Devices, processes, signals, and how processes agree. No task, no training."""
