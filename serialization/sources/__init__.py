"""Opening a model, one module for each form that it comes in."""
