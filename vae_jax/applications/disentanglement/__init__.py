"""A study of which objective makes single latents hold single factors."""
