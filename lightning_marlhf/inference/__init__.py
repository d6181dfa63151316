"""A trained model responds: models, prompts, completions, dialogues."""
