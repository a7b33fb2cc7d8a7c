"""sample_world."""
