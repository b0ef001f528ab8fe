"""What the loop has learned: classes of incidents, and what has helped against each.

`incident_class` names the class, `binding` makes a plan's steps fit for other targets,
`shelf` reads and writes the files of `knowledge/`, `learn` changes them by what a run has
seen, `lessons` says what that is, `similar` tells planners of it. The files stand on the
reports branch and are people's to edit or delete. Next: `flows.planners.learned`.
"""
