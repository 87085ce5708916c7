"""A study of disentanglement by objective."""
