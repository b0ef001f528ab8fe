"""The LLM planner and its endpoint; `client` is the only home of the openai package."""
