"""Segmentation; pyproject.toml registers its task and its data sets with launchbay."""

LAUNCHBAY_API = 2
"""Version of launchbay's API that this package is written for; launchbay compares it with its own."""
VOID = 255
"""What a mask says of pixels that have no class, such as the borders of things: nothing learns or counts them."""
