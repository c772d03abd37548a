"""Code that all dialects share: authentication, routing, reading requests, and writing answers and refusals."""
