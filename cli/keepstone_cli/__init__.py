"""The command `keepstone`: parse, one call of the engine, print. It does not think."""

__version__ = "0.1.0"
