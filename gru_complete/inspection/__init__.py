"""`inspect`: what the cells of a network do with a text, and which units follow which feature of it."""
