"""Output forms of a claim: text, LaTeX and array functions."""
