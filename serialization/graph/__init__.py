"""What a GraphDef says about itself: its nodes, ops, tensors, signature, and how it is rewritten."""
