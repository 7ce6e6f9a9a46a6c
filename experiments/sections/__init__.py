"""A module for each experiment: TITLE, and write(results) → lines of Markdown."""
