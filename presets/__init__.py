"""Complete params files, one per benchmark and recipe, and what writes them."""
