"""Measurements of how well codes predict classes."""
