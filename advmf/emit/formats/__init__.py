"""Claims in forms that other programs read: JSON and standalone Python."""
