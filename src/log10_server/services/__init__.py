"""The business rules of the contract (docs/api.md). Nothing here depends on HTTP, on a dialect or on SQL."""
