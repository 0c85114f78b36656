"""Running a model: what to feed it, and whether two of them answer the same."""
