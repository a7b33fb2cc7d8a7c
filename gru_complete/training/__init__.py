"""Training: from a corpus to a model directory, by a plan, a loop and checkpoints that can be resumed bit for bit."""
