"""The page on which people compare responses: pairs of a session, the file of verdicts, the server."""
