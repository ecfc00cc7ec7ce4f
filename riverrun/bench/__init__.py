"""Benchmarks: each measures a running server from outside and says the machine it ran on."""
