"""Who says which of two answers is better: a language model, a reward model, a gold score, people."""
