"""A table of results -> estimates."""
