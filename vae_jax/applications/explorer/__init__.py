"""A trained run in the browser: its latents on sliders and in the plane, decoded as they move."""
