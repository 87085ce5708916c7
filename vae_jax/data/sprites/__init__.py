"""Sprites with known factors of variation."""
