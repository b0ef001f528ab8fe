"""Steps that need a person: what is asked, what was decided, whether it still holds.

`request` and `decision` are the documents, `ledger` what is known of all of them, `standing`
the rules by which a decision counts, `asking` what a run asks, `view` what a run knows,
`store` the state repository, `desk` where people decide, `branches` the way by pull request.
"""
