"""Choosing settings by what a shop holds out of its own events."""
