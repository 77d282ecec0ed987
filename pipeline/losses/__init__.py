"""The losses. `catalogue` chooses one by name; `form` is what they have in common."""
