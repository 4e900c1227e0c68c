"""Claims in the forms that other programs read: JSON, and Python that stands alone."""
