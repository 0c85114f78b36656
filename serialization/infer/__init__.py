"""Which tensors of a graph that records no signature are its inputs and outputs."""
