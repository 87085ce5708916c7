"""The draws that are in memory until they are written, and their limit."""

from vae_jax.errors import UserError

# GiB of all draws together.
_MOST = 4


def refuse_too_many(num_files: int, num_bytes: int, what: str) -> None:
    """Refuse more files of draws than fit into memory.

    Args:
      num_files: number of files.
      num_bytes: of the draws of one.
      what: what is drawn, such as `1,000 images`.

    Raises:
      UserError: all together take more.
    """
    taken = num_files * num_bytes / 2**30
    if taken > _MOST:
        unit = what.rpartition(" ")[2]
        raise UserError(
            f"--multiple={num_files} draws of {what} take {taken:.0f} GiB; draw fewer, or give "
            f"fewer {unit}"
        )
