"""The business rules of the API (docs/api.md). Nothing here depends on HTTP, on a dialect or on SQL."""
