"""The annotation page: pairs of a session, the file of verdicts, the server."""
