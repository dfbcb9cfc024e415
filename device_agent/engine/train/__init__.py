"""Training on the device: gradients over atoms and rasters, losses, optimisers, and the trainer that joins them."""
