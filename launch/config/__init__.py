"""Options, plugins and how a run is put together from them. No training, and no torch until a task is loaded."""
