"""Search over fields of a job's spec: trials on Ray Tune, sharing features, never touching a test set."""
