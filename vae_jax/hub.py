"""Files on the Hugging Face Hub, by addresses: hf://USER/NAME, or hf://USER/NAME@REVISION.

Nothing is sent or fetched but by a call of `upload` or `download`. The account, the cache and the
server are those of the package huggingface_hub, which is optional.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from vae_jax.errors import UserError

PREFIX = "hf://"
# The files of a repository with a model.
MODEL, CARD = "model.safetensors", "README.md"

_Result = TypeVar("_Result")


class Address(NamedTuple):
    """A repository of the hub.

    Attributes:
      repo: USER/NAME.
      revision: a branch, a tag or a commit; None is the newest.
    """

    repo: str
    revision: str | None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}" + (f"@{self.revision}" if self.revision else "")


def parse(text: str) -> Address:
    """Return the parts of an address.

    Raises:
      UserError: it has another form.
    """
    name = r"[\w.-]+"
    match = re.fullmatch(rf"{PREFIX}({name}/{name})(?:@([\w./-]+))?", text, re.ASCII)
    if match is None:
        raise UserError(f"{text} must be {PREFIX}USER/NAME, or {PREFIX}USER/NAME@REVISION to load")
    return Address(match[1], match[2])


def download(text: str) -> Path:
    """Return the file with the model of an address, fetched unless it is in the hub's cache.

    Raises:
      UserError: the address is wrong, the package is missing, or there is no such file to be had.
    """
    address, client = parse(text), _import_client()
    return Path(
        _answer(
            address,
            lambda: client.hf_hub_download(address.repo, MODEL, revision=address.revision),
        )
    )


def upload(text: str, files: Mapping[str, bytes]) -> str:
    """Write files into a repository, made if it is missing, and return the commit's address.

    Args:
      text: the address, without a revision.
      files: their contents by name.

    Raises:
      UserError: as `require_upload`, or the hub refuses them or is not reached.
    """
    address, client = require_upload(text), _import_client()
    api = client.HfApi()

    def commit() -> str:
        api.create_repo(address.repo, exist_ok=True)
        operations = [client.CommitOperationAdd(name, content) for name, content in files.items()]
        message = "Model of vae_jax"
        return str(api.create_commit(address.repo, operations, commit_message=message).commit_url)

    return _answer(address, commit)


def require_upload(text: str) -> Address:
    """Return the repository of an address that files can be sent to.

    Raises:
      UserError: the address is wrong or names a revision, or the package is missing.
    """
    address = parse(text)
    if address.revision is not None:
        raise UserError(f"{text} names a revision; a model is sent to {PREFIX}{address.repo}")
    _import_client()
    return address


def _import_client() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise UserError(
            f"{PREFIX} needs the package huggingface_hub: pip install -e '.[hub]', or "
            "pip install huggingface_hub"
        ) from None
    return huggingface_hub


def _answer(address: Address, ask: Callable[[], _Result]) -> _Result:
    """Return what the hub answers.

    Raises:
      UserError: it refuses or is not reached.
    """
    try:
        return ask()
    # Those of the client come from several packages.
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{address} is not to be had from the hub: {lines[0]}") from None
