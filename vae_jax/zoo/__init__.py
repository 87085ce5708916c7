"""The zoo: families of models, trained at one budget and measured alike, in one table."""
