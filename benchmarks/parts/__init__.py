"""The parts of `make bench-scale`: each measures one thing in a database with a history."""
