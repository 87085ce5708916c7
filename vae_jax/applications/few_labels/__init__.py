"""Classification by a model that saw few labels."""
