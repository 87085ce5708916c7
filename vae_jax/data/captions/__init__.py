"""Captions of images, from measured attributes."""
