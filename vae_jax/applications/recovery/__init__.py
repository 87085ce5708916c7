"""Recovery of corrupted images."""
