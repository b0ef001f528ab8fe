"""The pages for people on the reports branch."""
