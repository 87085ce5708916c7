"""Drawn faces in colour with known factors of variation: avatars."""
