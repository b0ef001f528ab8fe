"""`uici demo`: the whole loop on this machine, with real parts and five real incidents.

`place` makes the scratch copy of the configuration, `stage` starts the servers, `feed`
reads what the agent logs, `faults` break things as people do, `proof` checks the result
without asking the agent, `view` shows it, `play` is the order of events. Production uses
none of this.
"""

from flows.demo.play import run_demo

__all__ = ["run_demo"]
