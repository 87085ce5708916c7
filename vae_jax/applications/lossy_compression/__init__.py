"""Lossy compression: latents rounded to a grid and entropy coded, beside PCA, JPEG and WebP."""
