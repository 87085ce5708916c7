"""Sprites of known factors of variation."""
