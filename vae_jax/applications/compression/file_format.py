"""The file format of compressed images: a header, the coder's words, a checksum.

4 bytes    b"VAEC"
2          version of the format, little-endian as every number here
4          length of the header
...        the header: `CompressedImages` without its words, JSON in UTF-8
...        the words, 4 bytes each
32         SHA-256 of all before
"""

import dataclasses
import hashlib
import json
import math
import struct
from typing import Any

import numpy as np

from vae_jax.errors import UserError

# Raised with every change to the words that `bits_back` and `compressor` make of the same images:
# the grid, the windows, the pads, the batch size. Earlier ones stay readable.
VERSION = 2

_MAGIC = b"VAEC"
_START = struct.Struct("<4sHI")
_CHECKSUM_SIZE = 32
# Most values per byte of a file. Images that cost their model next to nothing have thousands.
_MOST_PER_BYTE = 2**20


@dataclasses.dataclass(frozen=True)
class CompressedImages:
    """The content of a compressed file.

    Attributes:
      model: digest of the model.
      images: digest of the images.
      shape: of their array.
      dtype: of their array, "uint8" or "bool".
      brightest: the value of the brightest level.
      platform: what the last bits of a network's outputs depend on.
      words: uint32, from the entropy coder.
      lossy: whether the words are those of codes, from which images like these are decoded;
        `images` is then the digest of the codes.
      version: of the format that the words are in.
    """

    model: str
    images: str
    shape: tuple[int, ...]
    dtype: str
    brightest: int
    platform: str
    words: np.ndarray
    lossy: bool = False
    version: int = VERSION


def pack(compressed: CompressedImages) -> bytes:
    """Return the content of the file."""
    fields = {
        field.name: getattr(compressed, field.name)
        for field in dataclasses.fields(compressed)
        if field.name not in ("words", "version")
    }
    # Files without loss are as they were before there were others.
    if not compressed.lossy:
        del fields["lossy"]
    header = json.dumps(fields, separators=(",", ":")).encode()
    start = _START.pack(_MAGIC, compressed.version, len(header))
    content = start + header + compressed.words.astype("<u4").tobytes()
    return content + hashlib.sha256(content).digest()


def overhead(compressed: CompressedImages) -> int:
    """Return the bytes of a file that are not words: header and checksum."""
    return len(pack(compressed)) - 4 * len(compressed.words)


def unpack(content: bytes, name: str) -> CompressedImages:
    """Return the compressed images that were given to `pack`.

    Args:
      content: of the file.
      name: of the file, for errors.

    Raises:
      UserError: the file is of another kind or version, cut short, or altered.
    """
    if not content.startswith(_MAGIC):
        raise UserError(f"{name} is no file that experiments.compress wrote")
    damaged = UserError(f"{name} is cut short or altered: its checksum is not that of its content")
    body, checksum = content[:-_CHECKSUM_SIZE], content[-_CHECKSUM_SIZE:]
    if len(body) < _START.size or hashlib.sha256(body).digest() != checksum:
        raise damaged
    _, version, header_size = _START.unpack_from(body)
    if not 1 <= version <= VERSION:
        raise UserError(f"{name} has format {version}; this program reads formats 1 to {VERSION}")
    header, words = body[_START.size :][:header_size], body[_START.size + header_size :]
    try:
        fields = _fields(json.loads(header))
        if math.prod(fields["shape"]) > _MOST_PER_BYTE * len(content):
            raise ValueError(f"shape {fields['shape']} in {len(content):,} bytes")
        return CompressedImages(**fields, words=_words(words), version=version)
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise UserError(f"{name} holds what experiments.compress does not write: {error}") from None


def _words(content: bytes) -> np.ndarray:
    return np.frombuffer(content, "<u4").astype(np.uint32)


def _fields(header: dict[str, Any]) -> dict[str, Any]:
    shape = tuple(header["shape"])
    if not all(isinstance(size, int) and size > 0 for size in shape):
        raise ValueError(f"shape {shape}")
    if header["dtype"] not in ("uint8", "bool") or header["brightest"] not in (1, 255):
        raise ValueError(f"{header['dtype']} up to {header['brightest']}")
    if header.get("lossy", False) not in (False, True):
        raise ValueError(f"lossy {header['lossy']}")
    return {**header, "shape": shape}
