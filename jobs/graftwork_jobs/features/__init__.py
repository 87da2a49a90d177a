"""Outputs of frozen trunks, computed once per example and kept: by phases, runs and jobs on the same pictures."""
