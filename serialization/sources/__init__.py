"""Opens models, with one module for each format."""
