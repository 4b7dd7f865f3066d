"""The peers, a script each; see `benchmarks.protocol` for how they are called.

They run in environments that do not have this package, so they must not import it.
"""
