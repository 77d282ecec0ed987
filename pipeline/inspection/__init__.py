"""Pseudo-label files as text in a terminal: one, one picture or class of it, or two compared."""
