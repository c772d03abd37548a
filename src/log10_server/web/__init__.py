"""The HTTP layer. It translates between dialects and services, and contains neither SQL nor business rules."""
