"""The agent's own bare clone of the state repository; the only home of GitPython."""
