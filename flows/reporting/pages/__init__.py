"""Pages for people on the reports branch: status of all, an index a day, chart, badges. Pure."""
