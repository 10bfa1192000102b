"""The run folder and the observers of a run: metrics, pictures, progress, log, W&B. Changes nothing in a run."""
