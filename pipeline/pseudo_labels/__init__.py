"""From scores to what the student takes as complete: NumPy only."""
