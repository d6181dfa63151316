"""Reading and checking of YAML files and command lines, in one line each."""
