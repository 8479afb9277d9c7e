"""Weights on this machine: the catalogue, downloads, imports, checks. Knows nothing of torch; only `pull` uses the network.

One direction: commands -> pull, importing, verify -> store -> admission, lock, catalogue. Families only call
`store.resolve`.
"""
