"""Prequential evaluation: replays a past period, and asks about each event before learning it."""
