"""The idx file format of the MNIST family, with the SHA-256 sums of the published files."""

import gzip
import hashlib
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from vae_jax.errors import UserError

# The first name of each pair holds images [num_examples, height, width], the second labels.
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

# Checksums of the unzipped content: copies differ in their gzip headers only.
SHA256 = {
    "mnist": {
        "train-images-idx3-ubyte": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
        ),
        "train-labels-idx1-ubyte": (
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
        ),
        "t10k-images-idx3-ubyte": (
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
        ),
        "t10k-labels-idx1-ubyte": (
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
        ),
    },
}

_GZIP_MAGIC = b"\x1f\x8b"
_UINT8 = 0x08
# The largest file of the MNIST family has 47 million.
_MOST_BYTES = 2**30


def read_content(path: str | Path) -> bytes:
    """Return the bytes of a file, unzipped if it is gzip.

    Raises:
        UserError: the file is missing, unreadable, cut short, too large or fails its checksum.
    """
    try:
        raw = Path(path).read_bytes()
        if not raw.startswith(_GZIP_MAGIC):
            return raw
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UserError(f"{path} holds more than {_MOST_BYTES:,} bytes unzipped")
        return content
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except EOFError:
        raise UserError(f"{path} is cut short: its gzip stream ends too early") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is corrupt: {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


def read_idx(path: str | Path, *, sha256: str | None = None) -> np.ndarray:
    """Read an idx file of unsigned bytes, gzipped or plain.

    The format is http://yann.lecun.com/exdb/mnist/: two zero bytes, the element type, the number
    of dimensions, each dimension as a big-endian uint32, then the elements.

    Args:
        path: the file.
        sha256: the expected SHA-256 of the unzipped content, in hexadecimal.

    Returns:
        A read-only uint8 array of the shape that the file states.

    Raises:
        UserError: the file is missing, corrupt, cut short, too long, or has another checksum.
    """
    content = read_content(path)
    # Structure first: its errors are more specific than a wrong checksum.
    if len(content) < 4 or content[:2] != b"\0\0" or content[3] == 0:
        raise UserError(f"{path} is not an idx file: it begins with 0x{content[:4].hex()}")
    if content[2] != _UINT8:
        raise UserError(
            f"{path} holds elements of type 0x{content[2]:02x}; only unsigned bytes (0x08) are read"
        )
    num_dimensions = content[3]
    header_size = 4 + 4 * num_dimensions
    if len(content) < header_size:
        raise UserError(f"{path} is cut short: it ends within its header")
    shape = struct.unpack(f">{num_dimensions}I", content[4:header_size])
    found, stated = len(content) - header_size, math.prod(shape)
    if found != stated:
        what = "is cut short" if found < stated else "has bytes left over"
        raise UserError(
            f"{path} {what}: its header states {list(shape)}, that is {stated} bytes, "
            f"but {found} follow"
        )
    if sha256 is not None:
        actual = hashlib.sha256(content).hexdigest()
        if actual != sha256:
            raise UserError(
                f"{path} is not the published file: its content has SHA-256 {actual}, not {sha256}"
            )
    return np.frombuffer(content, np.uint8, offset=header_size).reshape(shape)
