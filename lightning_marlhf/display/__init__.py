"""Show what runs record to people: texts made safe, pictures of responses; for TensorBoard and reports alike."""
