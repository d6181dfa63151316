"""A run on paper: updates, FLOPs, hours, memory per GPU."""
