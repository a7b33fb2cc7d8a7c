"""Training: the plan for the minutes, the loop, the schedule and the checkpoints."""
