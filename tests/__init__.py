"""The tests; a module per module of the library."""
