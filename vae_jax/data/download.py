"""Downloads of single files, which are complete or absent."""

import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from vae_jax.errors import UserError

_SCHEMES = ("http://", "https://", "file://")
_TIMEOUT_SECONDS = 30


def is_url(source: str) -> bool:
    """Return whether `source` is a URL that `fetch` takes rather than a path."""
    return source.startswith(_SCHEMES)


def fetch(url: str, path: Path, check: Callable[[Path], object]) -> None:
    """Download `url` to `path`, which appears only once it is complete and has passed `check`.

    Two processes must not download to the same path at once.

    Args:
        url: http, https or file.
        path: the file to write; its folder is made.
        check: raises UserError if the downloaded file is wrong.

    Raises:
        UserError: the download failed, ended early or did not pass; no file is left behind.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response,
            partial.open("wb") as file,
        ):
            shutil.copyfileobj(response, file)
            stated = response.headers.get("Content-Length")
            # A connection that closes early raises nothing when it is read in pieces.
            if stated is not None and file.tell() != int(stated):
                raise UserError(f"{url} ended early: {file.tell()} of {stated} bytes arrived")
        try:
            check(partial)
        except UserError as error:
            raise UserError(str(error).replace(str(partial), url)) from None
        partial.replace(path)
    except urllib.error.HTTPError as error:
        error.close()
        raise UserError(f"{url} cannot be downloaded: {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise UserError(f"{url} cannot be downloaded: {error.reason}") from None
    # urllib raises ValueError for what is no URL.
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UserError(f"{url} cannot be downloaded to {path}: {error}") from None
    finally:
        partial.unlink(missing_ok=True)
