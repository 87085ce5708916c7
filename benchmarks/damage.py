"""Ways to damage a file at random. A part of the benchmarks that damage files."""

import random
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path, random.Random], None]


def _emptied(path: Path, rng: random.Random) -> None:
    del rng
    path.write_bytes(b"")


def _cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def _extended(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randint(1, 100)))


def _doubled(path: Path, rng: random.Random) -> None:
    del rng
    path.write_bytes(2 * path.read_bytes())


def _flipped_bit(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _noise_inside(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    start = rng.randrange(len(content))
    content[start : start + 64] = rng.randbytes(64)
    path.write_bytes(content)


def _noise(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(rng.randint(1, 10_000)))


def _null(path: Path, rng: random.Random) -> None:
    del rng
    path.write_text("null")


def _nested(path: Path, rng: random.Random) -> None:
    del rng
    path.write_text(100_000 * "[")


def _large_numbers(path: Path, rng: random.Random) -> None:
    """Replace a digit by 19 of them: sizes in headers, numbers in JSON."""
    content = path.read_bytes()
    digits = [index for index, byte in enumerate(content[:5000]) if chr(byte).isdigit()]
    if not digits:
        return _noise_inside(path, rng)
    index = rng.choice(digits)
    path.write_bytes(content[:index] + b"9" * 19 + content[index + 1 :])


def _folder(path: Path, rng: random.Random) -> None:
    del rng
    path.unlink()
    path.mkdir()


def _gone(path: Path, rng: random.Random) -> None:
    del rng
    path.unlink()


DAMAGES: dict[str, Damage] = {
    "emptied": _emptied,
    "cut": _cut,
    "extended": _extended,
    "doubled": _doubled,
    "flipped bit": _flipped_bit,
    "noise inside": _noise_inside,
    "noise": _noise,
    "null": _null,
    "nested": _nested,
    "large numbers": _large_numbers,
    "a folder": _folder,
    "gone": _gone,
}
