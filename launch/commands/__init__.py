"""The verbs of `launchbay`: for finished runs, new packages and this machine. No training."""
