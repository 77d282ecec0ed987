"""The library of a two-stage pipeline for single positive multi-label learning."""
