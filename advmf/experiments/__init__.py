"""Experiments without verdicts: phase diagrams, training curves, tables of norms, and their figures."""
