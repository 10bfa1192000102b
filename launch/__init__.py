"""The launcher: everything that is the same for every task. It knows the task interface and no particular task."""
