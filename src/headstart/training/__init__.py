"""Training: a network and images in, a trained network out. Knows tensors only."""
