"""The run folder and what watches a run: metrics, pictures, progress, log, W&B. Decides nothing."""
