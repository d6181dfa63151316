"""The page on which people compare answers: which pairs, whose turn, what is kept, how it is served."""
