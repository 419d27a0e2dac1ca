"""One module a verb: parse, one call of the engine, print."""
