"""Which objective makes single latents hold single factors: a study."""
