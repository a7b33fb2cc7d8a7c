"""Text: from bytes to documents, splits and token ids on disk, and exactly back."""
