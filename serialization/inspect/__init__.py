"""What is in a model file, as data, text and pictures."""
