"""What my-plugin adds to launchbay; pyproject.toml says under which name."""
