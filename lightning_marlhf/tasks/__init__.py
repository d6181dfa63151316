"""What a task is, in plain Python: its texts, its noise and its truth; no tensors, no files."""
