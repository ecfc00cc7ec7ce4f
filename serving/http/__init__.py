"""The HTTP edge: design and errors of API v1."""
