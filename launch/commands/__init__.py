"""What the launchbay command does with finished runs, plugins and this machine. No training."""
