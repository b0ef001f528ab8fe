"""The command line behind `uici`: what each command does and how it looks."""
