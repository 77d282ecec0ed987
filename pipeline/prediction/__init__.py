"""Labels of new images: find them, score them in a stream, write the results."""
