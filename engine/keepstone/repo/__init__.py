"""The repository: the floor that joins bytes to places.

`format` knows the layout, `keys` the ways to unlock, `pack` and `index` the stored objects, `log` who wrote what in
which order, `cache` the local index, `state` what this installation remembers, `writer` how new chunks get in, and
`repository` puts them together. Above this floor nobody sees a store, a key or a pack.
"""
