"""The launcher: all that is the same for every task. Knows the task interface, never a concrete task."""
