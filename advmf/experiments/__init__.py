"""Experiments: sweeps with a verdict at every point, phase diagrams, training curves, tables of norms; with figures."""
