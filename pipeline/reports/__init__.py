"""Pages and tables of a run for people."""
