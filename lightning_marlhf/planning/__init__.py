"""Static analysis of a run: updates, FLOPs, hours, memory per GPU."""
