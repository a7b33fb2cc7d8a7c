"""The n-gram model: counting, looking up, mixing with the GRU, and learning from the current document."""
