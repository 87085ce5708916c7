"""A trained model in the formats of other programs, by the ending of a file's name."""

from pathlib import Path

from vae_jax.errors import UserError
from vae_jax.sharing import onnx, stablehlo
from vae_jax.sharing.functions import Trained

FORMATS = (stablehlo.SUFFIX, onnx.SUFFIX)


def require_format(target: Path, others: tuple[str, ...] = ()) -> None:
    """Refuse a file of a format that is unknown, or whose package is missing.

    Args:
      target: the file.
      others: endings that are known to the caller.

    Raises:
      UserError: the ending is unknown, or the package of ONNX is missing.
    """
    known = (*others, *FORMATS)
    if target.suffix not in known:
        raise UserError(f"--output={target} must end in one of {', '.join(known)}")
    if target.suffix == onnx.SUFFIX:
        onnx.require_package()


def contents(model: Trained, target: Path) -> dict[Path, bytes]:
    """Return the files of a model by path; NAME.onnx is NAME_encode.onnx and NAME_decode.onnx.

    Raises:
      UserError: a function of the model cannot be written in the format.
    """
    if target.suffix == stablehlo.SUFFIX:
        return {target: stablehlo.to_bytes(model)}
    return {
        target.with_name(f"{target.stem}_{name}{target.suffix}"): content
        for name, content in onnx.to_bytes(model).items()
    }
