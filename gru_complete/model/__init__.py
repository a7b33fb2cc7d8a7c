"""The finished model as a directory: its sizes, manifest, weights and name, and the run directory beside it."""
