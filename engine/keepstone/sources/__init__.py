"""Sources: what there is to save, read from the filesystem and never changed there.

`files` lists folders and reads files, `metadata` knows attributes and owners, `sqlite` takes consistent images of live
databases, `exclude` decides what is left out. Nothing here knows a repository or holds a key of its own.
"""
