"""Several modalities with one latent space."""
