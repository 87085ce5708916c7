import gzip
import hashlib
import struct

import numpy as np
import pytest

from vae_jax.data import idx, load, split_sizes
from vae_jax.data.idx import read_idx
from vae_jax.errors import UserError


def idx_bytes(array):
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


ARRAY = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(np.uint8)


def test_bundled_mnist_has_the_published_content_and_order():
    # Reading verifies the SHA-256 sums; the labels and the mean are widely published.
    train, test = load("mnist", "train", ""), load("mnist", "test", "")
    assert split_sizes("mnist", "") == {"train": len(train.images), "test": len(test.images)}
    assert train.images.shape == (60_000, 28, 28, 1)
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int32
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert train.images.mean() / 255 == pytest.approx(0.1307, abs=1e-4)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_reads_plain_and_gzipped_files(tmp_path, pack):
    path = tmp_path / "file"
    path.write_bytes(pack(idx_bytes(ARRAY)))
    expected = hashlib.sha256(idx_bytes(ARRAY)).hexdigest()
    np.testing.assert_array_equal(read_idx(path, sha256=expected), ARRAY)


@pytest.mark.parametrize("size", [0, 3, 10, 16, 39])
def test_refuses_a_plain_file_that_is_cut_short(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(idx_bytes(ARRAY)[:size])
    with pytest.raises(UserError, match=r"file (is cut short|is not an idx file)"):
        read_idx(path)


def test_no_flipped_bit_and_no_cut_of_a_gzip_file_changes_what_is_read(tmp_path):
    path = tmp_path / "file.gz"
    packed = gzip.compress(idx_bytes(ARRAY), mtime=0)
    damaged = [packed[:size] for size in range(len(packed))]
    for position in range(len(packed)):
        flipped = bytearray(packed)
        flipped[position] ^= 0x10
        damaged.append(bytes(flipped))
    num_refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            array = read_idx(path)
        except UserError:
            num_refused += 1
        else:
            # Some bits, such as the time in the header, bear on nothing.
            np.testing.assert_array_equal(array, ARRAY)
    assert num_refused > 0.9 * len(damaged)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx_bytes(ARRAY) + b"!", r"bytes left over: its header states \[2, 3, 4\]"),
        (b"PK\x03\x04" + bytes(40), "not an idx file"),
        (b"\0\0\x0d\x01" + bytes(8), "type 0x0d"),
        (b"\0\0\x08\x03\0\0", "within its header"),
    ],
)
def test_says_what_is_wrong_with_a_file(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_idx(path)


def test_refuses_another_file_than_the_published_one(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx_bytes(ARRAY))
    with pytest.raises(UserError, match=r"file is not the published file"):
        read_idx(path, sha256="0" * 64)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        read_idx(tmp_path / "nowhere")


def test_a_file_that_unzips_without_end_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(5000)))
    monkeypatch.setattr(idx, "_MOST_BYTES", 4999)
    with pytest.raises(UserError, match="more than 4,999 bytes unzipped"):
        idx.read_content(path)
