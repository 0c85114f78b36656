"""What a graph could do to the machine that loads it, looked for before TensorFlow gets it."""
