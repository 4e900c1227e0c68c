"""Where the numbers of a check come from, one kind in each file."""
