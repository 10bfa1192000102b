"""What `launchbay` does with finished runs, new packages and this machine. No training."""
