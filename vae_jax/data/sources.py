"""All sources of data by name: bundled, rendered, files, a folder of images, TFDS, or outside."""

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from vae_jax.data import arrays, bundled, image_folder, outside, prepared, splits, tables
from vae_jax.data.dataset import Dataset, LazyDataset, Ranges, read_all
from vae_jax.data.sprites import dataset
from vae_jax.data.tables import TableOptions
from vae_jax.errors import UserError


class _Source(NamedTuple):
    sizes: Callable[[], dict[str, int]]
    open: Callable[[Ranges], LazyDataset]


def open_lazily(
    name: str,
    split: str,
    data_dir: str,
    image_size: int = 0,
    table: TableOptions | None = None,
    *,
    may_miss_pixels: bool = False,
) -> LazyDataset:
    """Open a split of a data set, which is read on demand.

    Only bundled data, .npz files and tables are read into memory at once.

    Args:
        name: `mnist`, which is bundled; `sprites`, `sprites_smooth` or `sprites_color`, which are
            rendered (see `sprites`); "package.module:Name", a source of your own (see `outside`);
            a path that ends in .npz (see `arrays`); the path of a folder of images (see
            `image_folder`); or a data set that TFDS has prepared in `data_dir`, as `name`,
            `name/config` or `name:version`. A prepared data set goes before a folder of the same
            name; write `./name` for the folder.
        split: in TFDS's syntax (see `splits`), such as `train[:55000]`.
        data_dir: folder of prepared data sets; "" is TFDS's default.
        image_size: height and width that the central squares of image files are resized to; 0 keeps
            them as they are. Rendered images have this size; 0 means 64.
        table: how a file becomes a table (see `tables`); None for images.
        may_miss_pixels: whether pixels of an .npz file may be NaN, which were not seen.

    Returns:
        A data set with images [num_examples, height, width, channels], uint8 or float32, in the
        order of the source; labels [num_examples], int32, or None; factors of variation or None.

    Raises:
        UserError: the name or split is unknown, or the data are damaged or have a wrong form.
    """
    source = _find(name, data_dir, image_size, table, may_miss_pixels=may_miss_pixels)
    return source.open(splits.parse(split, source.sizes()))


def load(
    name: str, split: str, data_dir: str, image_size: int = 0, table: TableOptions | None = None
) -> Dataset:
    """Read a split of a data set into memory; the arguments are those of `open_lazily`.

    Raises:
        UserError: as `open_lazily`.
    """
    return read_all(open_lazily(name, split, data_dir, image_size, table))


def split_sizes(name: str, data_dir: str, table: TableOptions | None = None) -> dict[str, int]:
    """Return the number of examples in each split of a data set, without reading images.

    Raises:
        UserError: as `open_lazily`.
    """
    return _find(name, data_dir, 0, table).sizes()


def _find(
    name: str,
    data_dir: str,
    image_size: int,
    table: TableOptions | None = None,
    *,
    may_miss_pixels: bool = False,
) -> _Source:
    if table is not None:
        return _find_table(name, table)
    if tables.is_table(name):
        raise _no_images(name)
    if image_size and (name in bundled.NAMES or name.endswith(".npz")):
        raise UserError(
            f"data.image_size={image_size} is for folders of images and prepared data sets, but "
            f"data.name={name!r} holds arrays; resize those, and use data.image_size=0"
        )
    if name in bundled.NAMES:
        return _Source(bundled.sizes, bundled.read)
    if name in dataset.VARIANTS:
        return _Source(
            partial(dataset.sizes, name),
            partial(dataset.SpritesDataset, name, image_size=image_size),
        )
    # In names of TFDS a colon precedes a version, never a name.
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        return _Source(partial(outside.sizes, name), partial(outside.OutsideDataset, name))
    path = str(Path(os.path.expanduser(name)))
    if name.endswith(".npz"):
        read = partial(arrays.read, path, may_miss=may_miss_pixels)
        return _Source(partial(arrays.sizes, path), read)
    folder = None if _looks_like_a_path(name) else prepared.find(name, data_dir)
    if folder is not None:
        return _Source(
            partial(prepared.sizes, folder),
            partial(prepared.PreparedDataset, folder, image_size=image_size),
        )
    if name and Path(path).is_dir():
        return _Source(
            partial(image_folder.sizes, path),
            partial(image_folder.FolderDataset, path, image_size=image_size),
        )
    # Images of that name go before.
    if name in tables.BUNDLED:
        raise _no_images(name)
    if _looks_like_a_path(name):
        what = "is a file" if Path(path).exists() else "does not exist"
        raise UserError(
            f"data.name={name!r} {what}; give a folder of images, a .npz file or a known name"
        )
    # Imported for this message alone, and not by every command.
    from vae_jax.data import idx_builder
    from vae_jax.data.avatars import builder as avatars

    there = ", ".join(prepared.list_names(data_dir)) or "nothing"
    if name in (*idx_builder.FAMILY, avatars.NAME):
        raise UserError(
            f"data.name={name!r} is not prepared under data.dir={data_dir!r}, which has {there}: "
            f"run python -m experiments.prepare --name={name} --data_dir={data_dir}"
        )
    raise UserError(
        f"data.name={name!r} is not known; bundled: {', '.join(bundled.NAMES)}; prepared under "
        f"data.dir={data_dir!r}: {there}; rendered: {', '.join(dataset.VARIANTS)}; or give a .npz "
        "file or a folder of images, or see python -m experiments.prepare --help"
    )


def _find_table(name: str, options: TableOptions) -> _Source:
    path = str(Path(os.path.expanduser(name)))
    if Path(name).suffix not in tables.SUFFIXES and name not in tables.BUNDLED:
        raise UserError(
            f"data.name={name!r} is no table, which model.likelihood='columns' is for; give a file "
            f"that ends in {', '.join(tables.SUFFIXES)}, or one of {', '.join(tables.BUNDLED)}"
        )
    return _Source(partial(tables.sizes, path, options), partial(tables.read, path, options))


def _no_images(name: str) -> UserError:
    return UserError(
        f"data.name={name!r} is a table; use model.likelihood='columns', as in configs/table.py"
    )


def _looks_like_a_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1
