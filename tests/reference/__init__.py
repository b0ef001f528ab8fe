"""Pages of docs/reference, written from the models, the YAML and the command line.

`make docs` writes them; a test fails when they are not current.
"""
