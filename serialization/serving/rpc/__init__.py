"""Answers gRPC calls: the server, and one module for each service that it answers for."""
