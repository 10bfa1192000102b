"""The contract of a task: the test bench behind launchbay.tasks.testing, which stands outside the house."""
