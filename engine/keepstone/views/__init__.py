"""Ways of looking at what is kept, and forms in which people and phones can use it."""
