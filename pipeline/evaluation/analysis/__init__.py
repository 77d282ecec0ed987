"""What the papers look at in two trained models: their scores, and the loss around them."""
