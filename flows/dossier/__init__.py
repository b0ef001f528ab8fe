"""The dossier of an incident: what is known before anybody plans; part of stage 3.

`collect` gathers it; `log_digest` makes few lines of many, `patterns` finds known errors,
`facts`, `dependencies`, `changes` and `past` say what was seen, `budget` makes it fit.
"""

from flows.dossier.budget import dossier_text, match_text
from flows.dossier.collect import collect_evidence

__all__ = ["collect_evidence", "dossier_text", "match_text"]
