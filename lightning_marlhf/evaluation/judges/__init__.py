"""Judges say which of two responses is better: a language model, a reward model, a gold score, people."""
