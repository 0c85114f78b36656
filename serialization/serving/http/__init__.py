"""The server: processes, sockets, bodies and batches."""
