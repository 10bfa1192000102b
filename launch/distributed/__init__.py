"""Devices, processes and how they agree, signals, the watchdog. No task, no training."""
