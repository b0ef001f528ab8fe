"""Parts of stage 3: evidence, the runbook planner, the order of planners."""
