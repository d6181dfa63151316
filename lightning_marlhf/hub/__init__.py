"""What is fetched by name: a folder, a Hub id, the Hub's cache; and the tokenizer that comes with it."""
