"""Incidents with known answers, and what each planner makes of them: `make evals`."""
