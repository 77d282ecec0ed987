"""Everything drawn: a module per occasion, canvas.py for what they share."""
