"""JSON Schema: schemas, references, keywords, formats, and the worker processes that validate what may take long."""
