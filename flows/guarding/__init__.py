"""What the guard rests on: rules, windows, pauses, pruning. `flows.guard` puts it together."""
