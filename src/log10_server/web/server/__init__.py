"""Serves HTTP/1.1: the protocol class for uvicorn, the bounds on connections, and the configuration of uvicorn."""
