"""Metrics of a run, and the analysis of two models."""
