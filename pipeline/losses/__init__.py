"""The losses: `form` is what they have in common, `catalogue` chooses one by name."""
