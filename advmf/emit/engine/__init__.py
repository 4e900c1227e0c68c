"""How kernels compute: from a formula to instructions, and from these to numbers, by NumPy, by generated C,
in torch."""
