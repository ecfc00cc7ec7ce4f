"""Prequential evaluation: a past period once more, every answer given before it is learned."""
