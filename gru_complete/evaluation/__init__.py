"""What `eval` measures and how it says it."""
