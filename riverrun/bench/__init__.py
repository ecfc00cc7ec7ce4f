"""Benchmarks: of a running server, measured from outside, and of lists; each says its machine."""
