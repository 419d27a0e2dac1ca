"""The version of Keepstone, as snapshots record it."""

VERSION = "0.1.0"
