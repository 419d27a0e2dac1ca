"""Meaning: recipes (how bytes come from chunks), trees (folders), snapshots, and what differs between them."""
