"""The quality of codes as features of classes."""
