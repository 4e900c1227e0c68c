"""The engine of kernels: formulas become instructions, which NumPy, generated C or torch evaluate."""
