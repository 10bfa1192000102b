"""A diffusion model; pyproject.toml registers it with launchbay."""

LAUNCHBAY_API = 2
"""Version of launchbay's API that this package is written for; launchbay compares it with its own."""
