"""HTTP: translates between dialects and services. No SQL, no rules."""
