import os
import subprocess
import sys
import zlib

from vae_jax.training.compilation_cache import delete_damaged

PROGRAM = """
import jax
from vae_jax.training.compilation_cache import use_compilation_cache

use_compilation_cache()
print(jax.jit(lambda x: x + 1)(2))
"""


def test_damaged_entries_are_deleted_and_others_stay(tmp_path):
    whole = zlib.compress(b"a program" * 100)
    entries = {"whole": whole, "cut": whole[:-5], "empty": b"", "other_format": b"\x28\xb5\x2f\xfd"}
    entries["flipped"] = whole[:10] + bytes([whole[10] ^ 1]) + whole[11:]
    for name, content in entries.items():
        (tmp_path / f"{name}-cache").write_bytes(content)
    (tmp_path / "note.txt").write_bytes(b"")
    assert delete_damaged(tmp_path) == 3
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"whole-cache", "other_format-cache", "note.txt"}


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
    assert run().stderr == ""
    assert {path.name for path in (tmp_path / "cache").glob("*-cache")} == {
        path.name for path in entries
    }
