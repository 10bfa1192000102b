"""The task of my-plugin; pyproject.toml registers it with launchbay."""
