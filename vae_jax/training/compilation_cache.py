"""The cache of compiled programs on the disk, without entries that are damaged."""

import contextlib
import importlib
import os
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import logging

# Of the warnings of JAX about an entry that it could not read or write. It passes over an entry
# that it cannot read, and never writes it again.
_WARNINGS = ("Error reading persistent", "Error writing persistent")
_ENTRIES = "*-cache"
_FOLDER = "jax_compilation_cache_dir"


def use_compilation_cache() -> None:
    """Keep compiled programs in ~/.cache/vae_jax, or in $JAX_COMPILATION_CACHE_DIR.

    Without a home that can be written none are kept. Damaged ones are deleted when JAX meets one.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
        folder /= "vae_jax"
        # A home that is not known stays "~".
        if not folder.is_absolute():
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        if not os.access(folder, os.W_OK):
            return
        jax.config.update(_FOLDER, str(folder))
    # Quick compilations, too: a run has a hundred of them, together two seconds.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    if not isinstance(warnings.showwarning, _Mending):
        warnings.showwarning = _Mending(warnings.showwarning)


class _Mending:
    """Shows warnings but those of damaged entries, which it deletes."""

    def __init__(self, show: Callable[..., None]) -> None:
        self._show = show

    def __call__(self, message: Warning | str, *args: Any, **options: Any) -> None:
        if not str(message).startswith(_WARNINGS):
            self._show(message, *args, **options)
            return
        folder = getattr(jax.config, _FOLDER)
        num = delete_damaged(Path(folder)) if folder else 0
        if num:
            logging.warning("deleted %d damaged programs from the cache %s", num, folder)


def delete_damaged(folder: Path) -> int:
    """Delete the entries of a cache that cannot be decompressed, and return their number."""
    damaged = 0
    for path in folder.glob(_ENTRIES):
        # Another process may delete it, too.
        with contextlib.suppress(OSError):
            if not _is_whole(path.read_bytes()):
                path.unlink()
                damaged += 1
    return damaged


def _is_whole(entry: bytes) -> bool:
    """Return whether the JAX here can decompress an entry.

    zlib has a checksum, and finds any wrong bit. Zstandard, as JAX uses it, has none, and finds
    what is cut or has a wrong structure.
    """
    try:
        _decompressor()(entry)
    except Exception:  # of a kind of its own in each format
        return False
    return True


def _decompressor() -> Callable[[bytes], bytes]:
    """Return what JAX decompresses with: Zstandard if it is installed, as in Python 3.14."""
    for name in ("compression.zstd", "zstandard"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name).decompress
    return zlib.decompress
