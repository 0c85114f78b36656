"""How one model is run for requests."""
