"""Models and tokenizers by folder or Hub id; publishing; chat templates."""
