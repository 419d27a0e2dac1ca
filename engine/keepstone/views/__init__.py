"""Ways of looking at what is kept: what a view shows is made from records and content, and changes neither."""
