"""What the shape of an array says that should hold images."""


def is_channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether an array looks like images with their channels before height and width."""
    return len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] > 4


def advice(shape: tuple[int, ...]) -> str:
    """Return what to do with an array that has no shape of images; empty if that is not known."""
    if is_channels_first(shape):
        return "; its channels come first, so use array.transpose(0, 2, 3, 1)"
    if len(shape) == 2:
        return (
            "; rows of numbers are trained on by vae_jax.sklearn.VAETransformer, or as 'rows' of a "
            "table by configs/table.py"
        )
    return ""
