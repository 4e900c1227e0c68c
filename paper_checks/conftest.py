"""What pytest does not import here."""

collect_ignore = ["neural_tangents_kernels.py"]
"""It runs in an environment of its own."""
