def error_line(capsys) -> str:
    """Return what a command wrote to standard error, which has to be one line."""
    (line,) = capsys.readouterr().err.splitlines()
    return line
