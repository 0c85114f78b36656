"""Writing a model, one module for each form that it gets."""
