"""Networks and their files: language models, scalar heads, Hugging Face folders."""
