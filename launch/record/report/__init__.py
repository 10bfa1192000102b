"""report.html: all that a person wants to see of a run, or of several beside each other, in one file. No network."""
