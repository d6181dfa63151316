"""Tasks in plain Python: prompt formats, synthetic rows, gold scores; no tensors, no files."""
