"""Parts of stage 7: statuses, and reports as text, Markdown and JSON. All pure."""
