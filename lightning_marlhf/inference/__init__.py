"""Inference with trained models: loading, prompts, completions, dialogues."""
