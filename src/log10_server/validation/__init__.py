"""JSON Schema: what a schema may be, what its keywords mean, and the processes that validate what may take long."""
