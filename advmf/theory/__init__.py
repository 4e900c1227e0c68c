"""The theory: a declared network in, SymPy expressions and claims out. Nothing here samples or simulates."""
