"""What the claims on speed rest on."""
