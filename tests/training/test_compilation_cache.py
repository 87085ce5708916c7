import os
import subprocess
import sys

import pytest

from vae_jax.training.compilation_cache import delete_damaged

PROGRAM = """
import jax
from vae_jax.training.compilation_cache import use_compilation_cache

use_compilation_cache()
print(jax.jit(lambda x: x + 1)(2))
"""


@pytest.mark.parametrize("name", ["zlib", "compression.zstd", "zstandard"])
def test_damaged_entries_are_deleted_and_others_stay(tmp_path, monkeypatch, name):
    library = pytest.importorskip(name)
    # Python prefers the first that is installed, as JAX does.
    for other in {"compression.zstd", "zstandard"} - {name}:
        monkeypatch.setitem(sys.modules, other, None)
    whole = library.compress(b"a program" * 100)
    entries = {"whole": whole, "cut": whole[:-5], "empty": b"", "noise": b"noise"}
    if name == "zlib":
        entries["flipped"] = whole[:10] + bytes([whole[10] ^ 1]) + whole[11:]
    for file, content in entries.items():
        (tmp_path / f"{file}-cache").write_bytes(content)
    (tmp_path / "note.txt").write_bytes(b"")
    assert delete_damaged(tmp_path) == len(entries) - 1
    assert {path.name for path in tmp_path.iterdir()} == {"whole-cache", "note.txt"}


def test_a_damaged_program_is_compiled_and_written_anew(tmp_path):
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}

    def run():
        return subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=environment,
            text=True,
            capture_output=True,
            check=True,
        )

    assert run().stderr == ""
    entries = list((tmp_path / "cache").glob("*-cache"))
    for path in entries:
        path.write_bytes(path.read_bytes()[:-9])
    mended = run()
    assert mended.stdout == "3\n"
    assert f"deleted {len(entries)} damaged programs from the cache" in mended.stderr
    assert "UserWarning" not in mended.stderr
    assert delete_damaged(tmp_path / "cache") == 0
    assert {path.name for path in (tmp_path / "cache").glob("*-cache")} == {
        path.name for path in entries
    }
