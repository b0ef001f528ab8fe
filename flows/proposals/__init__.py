"""The coding agent: another desired state, proposed as a branch for a pull request."""
