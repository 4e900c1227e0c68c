"""The parts of a document: formulas, prose, networks, derivations, tables, line breaks."""
