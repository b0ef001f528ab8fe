"""`make chaos`: faults on a real Docker Engine, and an oracle that never asks the agent.

`services` is what Git declares, `stage` starts the real parts, `engine` is what a person at
the engine can do and see, `faults` break things and say what is right then, `oracle` looks at
the world, `play` brings one fault on stage and judges what came of it, `table` sums up.
docs/CHAOS.md tells what was found. `soak` is the long run.
"""
