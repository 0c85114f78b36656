"""How requests and answers are written on the wire, one module for each format."""
