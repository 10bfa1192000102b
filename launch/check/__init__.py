"""The checks that a task has to pass; public as launchbay.testing. Only `launchbay check` imports them here."""
