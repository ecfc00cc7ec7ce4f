"""Benchmarks: of a running server from outside, and of lists; each names its machine."""
