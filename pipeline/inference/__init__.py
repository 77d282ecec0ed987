"""A model's probabilities of images: the device, the loop over batches, ensembles."""
