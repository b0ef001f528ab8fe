"""The child process of `tests.evals.local_model`: one model behind an OpenAI-compatible API.

Run by the engine's own environment, which has nothing of this project. It listens on loopback
and a free port, tells the address on stdout, and ends when its stdin does: with its parent.
"""

from __future__ import annotations

import os
import sys


def main(arguments: list[str]) -> None:
    """Serve.

    Args:
        arguments: path of the weights, threads, tokens of context, niceness.
    """
    path, threads, context, niceness = arguments
    os.nice(int(niceness))
    # Found in the engine's own environment only.
    import xllamacpp  # type: ignore[import-not-found]  # noqa: PLC0415

    settings = xllamacpp.CommonParams()
    settings.model.path = path
    settings.n_ctx = int(context)
    settings.n_parallel = 1
    settings.use_jinja = True
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.warmup = False
    settings.verbosity = -1
    settings.endpoint_slots = False
    # A small model that has begun to repeat itself does so to the end of its tokens. Only long
    # repetitions count, so that names and the answer's form are free.
    settings.sampling.dry_multiplier = 0.8
    settings.sampling.dry_allowed_length = 12
    for part in (settings.cpuparams, settings.cpuparams_batch):
        part.n_threads = int(threads)
        part.poll = 0
    server = xllamacpp.Server(settings)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    # The engine would go on to the end of its present answer, which nobody reads any more.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
