"""The names of the files that imputation writes beside the one with the filled cells or pixels."""

from pathlib import Path


def draws(target: Path, num: int) -> list[Path]:
    """Return the files whose cells or pixels are draws: `filled_1.csv`, `filled_2.csv`, ..."""
    return [target.with_stem(f"{target.stem}_{number}") for number in range(1, num + 1)]


def listed_cells(target: Path) -> Path:
    """Return the file with a line per filled cell: `filled_cells.csv`."""
    return target.with_stem(f"{target.stem}_cells")
