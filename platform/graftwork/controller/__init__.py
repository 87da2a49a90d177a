"""Specs on Kubernetes: pure decisions in the middle, the cluster's client and the operator at the edge."""
