"""Image files: reading them right, and the decode cache."""
