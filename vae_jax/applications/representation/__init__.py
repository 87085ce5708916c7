"""What the codes hold of the classes."""
