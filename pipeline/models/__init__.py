"""Backbones and heads by name, the weights they start from, the model file."""
