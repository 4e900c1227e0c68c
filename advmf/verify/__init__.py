"""A claim and numbers in, a verdict out."""
