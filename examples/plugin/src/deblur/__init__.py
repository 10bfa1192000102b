"""What deblur adds to launchbay; pyproject.toml says under which name."""
