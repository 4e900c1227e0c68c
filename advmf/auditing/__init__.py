"""A PyTorch module against its mean-field law, quantity by quantity."""
