"""Reads and rewrites GraphDefs: nodes, ops, tensors and signatures."""
