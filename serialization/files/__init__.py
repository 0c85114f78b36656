"""Where a model lies, and how what is written appears whole or not at all."""
