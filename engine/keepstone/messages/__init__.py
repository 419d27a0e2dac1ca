"""Messages, calls and who took part: one model for all that phones and programs keep, and what makes two of them one.

Nothing here reads a file or a repository. Readers (`keepstone.sources`) make these records from what people have;
the message archive joins them; views and exports are made from them.
"""
