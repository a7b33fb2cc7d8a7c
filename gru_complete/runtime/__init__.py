"""Everything that `complete` needs, in numpy: never imports torch."""
