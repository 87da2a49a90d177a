"""The next spec: what a finished run's findings ask to be changed, each change with its reason."""
