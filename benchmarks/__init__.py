"""How fast the server is: measured against a bare endpoint and raw inserts of the same machine (`make bench`)."""
