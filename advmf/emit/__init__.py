"""What a claim becomes: text, LaTeX and array functions."""
