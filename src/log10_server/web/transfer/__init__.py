"""JSON Lines in and out, over HTTP and for the command line: `docs/transfer.md` describes the format."""
