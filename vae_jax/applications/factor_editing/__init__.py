"""Known factors of images changed by degree, such as sunglasses put on."""
