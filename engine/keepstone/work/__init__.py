"""The verbs. `client` offers them all on an opened repository."""
