"""The rules, in our own words: what the contract says, with no word of HTTP, of a dialect or of SQL."""
