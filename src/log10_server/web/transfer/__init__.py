"""Reads and writes JSON Lines, over HTTP and for the command line. `docs/transfer.md` describes the format."""
