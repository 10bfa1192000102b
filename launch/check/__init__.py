"""The contract of a task, in checks; public as launchbay.testing. Nothing else imports it but the command check."""
