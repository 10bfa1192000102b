"""The state of a training on disk, complete or absent, and how a run continues from it. No training."""
