"""Options and plugins, and how a run is assembled from them. No training; torch only where a task is loaded."""
