import io
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from vae_jax import errors
from vae_jax.data import decoding, load, split_sizes
from vae_jax.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


def save_image(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def refused(name, message, split="train", data_dir="/nowhere"):
    with pytest.raises(UserError, match=message) as error:
        load(str(name), split, str(data_dir))
    assert "\n" not in str(error.value)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    refused("mnst", r"data\.name='mnst' is not known; bundled: mnist; prepared .*: nothing")
    refused("fashion_mnist", "which has nothing: run .*experiments.prepare --name=fashion_mnist")
    refused("a/b", "not known")
    refused("", "not known")
    refused(tmp_path / "nowhere", "does not exist")
    refused("./nowhere", r"data\.name='\./nowhere' does not exist")


def test_parts_of_several_splits_come_in_the_order_asked_for():
    both = load("mnist", "test[5:8]+train[:2]", "")
    test, train = load("mnist", "test", ""), load("mnist", "train[:2]", "")
    np.testing.assert_array_equal(both.images, np.concatenate([test.images[5:8], train.images]))
    np.testing.assert_array_equal(both.labels, np.concatenate([test.labels[5:8], train.labels]))


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import vae_jax.data", "jax tensorflow_datasets array_record PIL tensorflow"),
        (
            "import vae_jax.data; vae_jax.data.load('mnist', 'test', '')",
            "jax tensorflow_datasets array_record PIL tensorflow",
        ),
        (
            "import vae_jax.data; vae_jax.data.open_lazily('sprites', 'train[:9]', '').shape",
            "jax tensorflow_datasets array_record PIL tensorflow",
        ),
    ],
)
def test_the_default_path_imports_numpy_only(statement, unwanted):
    code = f"import sys; {statement}; sys.exit(str(set({unwanted.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"


def test_npz_with_one_split(tmp_path):
    path = tmp_path / "digits.npz"
    np.savez(path, images=GREY, labels=np.arange(6))
    assert split_sizes(str(path), "") == {"train": 6}
    data = load(str(path), "train[2:]", "")
    np.testing.assert_array_equal(data.images, GREY[2:, ..., np.newaxis])
    np.testing.assert_array_equal(data.labels, [2, 3, 4, 5])
    assert (data.images.dtype, data.labels.dtype) == (np.uint8, np.int32)


def test_npz_with_named_splits(tmp_path):
    path = tmp_path / "two.npz"
    np.savez_compressed(path, train_images=COLOUR, test_images=COLOUR[:2], test_labels=[3, 1])
    assert split_sizes(str(path), "") == {"train": 6, "test": 2}
    assert load(str(path), "train", "").labels is None
    assert load(str(path), "train+test", "").labels is None
    np.testing.assert_array_equal(load(str(path), "test", "").labels, [3, 1])
    np.testing.assert_array_equal(load(str(path), "train", "").images, COLOUR)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f8"])
def test_npz_floats_become_float32_with_their_values(tmp_path, dtype):
    path = tmp_path / "floats.npz"
    np.savez(path, images=(GREY / 255).astype(dtype))
    images = load(str(path), "train", "").images
    assert images.dtype == np.float32
    np.testing.assert_allclose(images[..., 0], GREY / 255, atol=1e-3)


def test_npz_bools_become_black_and_white(tmp_path):
    path = tmp_path / "bools.npz"
    np.savez(path, images=GREY > 99)
    images = load(str(path), "train", "").images
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images[..., 0], np.where(GREY > 99, 255, 0))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_npz_refuses_what_is_not_finite(tmp_path, bad):
    path = tmp_path / "bad.npz"
    images = GREY / 255
    images[4, 1, 2] = bad
    np.savez(path, images=images)
    refused(
        path, "'images' has NaN or infinite values in 1 of 4 images, first in image 4", "train[2:]"
    )
    assert len(load(str(path), "train[:4]", "").images) == 4


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": GREY}, r"holds \['x_train'\]"),
        ({"images": GREY, "test_images": GREY}, "keep one kind"),
        ({"images": GREY[0]}, r"shape \[5, 4\]"),
        ({"images": GREY[:0]}, r"shape \[0, 5, 4\]"),
        ({"images": COLOUR.transpose(0, 3, 1, 2).repeat(2, 3)}, r"array\.transpose\(0, 2, 3, 1\)"),
        ({"images": GREY[0]}, r"vae_jax\.sklearn\.VAETransformer, .* table"),
        ({"images": GREY.astype(np.int64)}, "type int64"),
        ({"images": GREY, "labels": np.arange(5)}, r"shape \[5\]; with 6 images"),
        ({"images": GREY, "labels": np.arange(6.0)}, "labels must be integers"),
        ({"images": GREY.astype(object)}, "type object"),
        ({"images": GREY, "labels": np.array([None] * 6)}, "labels must be integers"),
    ],
)
def test_npz_mistakes(tmp_path, arrays, message):
    path = tmp_path / "wrong.npz"
    np.savez(path, **arrays)
    refused(path, f"wrong.npz.*{message}")


def test_npz_that_is_no_npz_or_damaged(tmp_path):
    path = tmp_path / "file.npz"
    refused(path, "does not exist")
    path.write_bytes(b"hello")
    refused(path, "not a whole .npz file")
    with path.open("wb") as file:
        np.save(file, GREY)
    refused(path, "not a whole .npz file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\1\0\x0b\0{'descr': (")
    refused(path, "not a whole .npz file")
    huge = {"descr": "|u1", "fortran_order": False, "shape": (2**60, 28, 28)}
    with zipfile.ZipFile(path, "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, huge)
        archive.writestr("images.npy", header.getvalue())
    refused(path, "not a whole .npz file")
    np.savez(path, images=GREY)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "not a whole .npz file")
    flipped = bytearray(whole)
    flipped[whole.index(GREY.tobytes()) + 7] ^= 1
    path.write_bytes(flipped)
    refused(path, "not a whole .npz file: Bad CRC-32")
    path.unlink()
    path.mkdir()
    refused(path, "cannot be read")


def test_npz_that_does_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bomb.npz", images=np.zeros((1000, 28, 28), np.uint8))
    assert (tmp_path / "bomb.npz").stat().st_size < 10_000
    monkeypatch.setattr(errors.os, "sysconf", lambda name: 100)
    refused(tmp_path / "bomb.npz", "unpacked, more than the .* of this machine")


def test_an_image_of_too_many_pixels_is_refused(tmp_path, monkeypatch):
    save_image(tmp_path / "a.png", GREY[0])
    monkeypatch.setattr(decoding, "_MOST_PIXELS", 19)
    refused(tmp_path, r"a\.png: has 4x5 pixels; at most 19 are read")


def test_folder_without_splits_or_classes(tmp_path):
    for index in reversed(range(6)):
        save_image(tmp_path / f"{index}.png", GREY[index])
    (tmp_path / "README.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_bytes(b"not an image")
    assert split_sizes(str(tmp_path), "") == {"train": 6}
    data = load(str(tmp_path), "train[1:3]", "")
    np.testing.assert_array_equal(data.images, GREY[1:3, ..., np.newaxis])
    assert data.labels is None


def test_a_folder_goes_before_the_table_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused("digits", "data.name='digits' is a table; use model.likelihood='columns'")
    save_image(tmp_path / "digits" / "a.png", GREY[0])
    np.testing.assert_array_equal(load("digits", "train", "").images[0, ..., 0], GREY[0])


def test_folder_with_classes(tmp_path):
    save_image(tmp_path / "dog" / "a.png", COLOUR[0])
    save_image(tmp_path / "cat" / "deep" / "b.bmp", COLOUR[1])
    save_image(tmp_path / "cat" / "a.PNG", COLOUR[2])
    data = load(str(tmp_path), "train", "")
    np.testing.assert_array_equal(data.images, COLOUR[[2, 1, 0]])
    np.testing.assert_array_equal(data.labels, [0, 0, 1])


def test_folder_with_splits_numbers_classes_alike_in_all(tmp_path):
    save_image(tmp_path / "train" / "cat" / "a.png", GREY[0])
    save_image(tmp_path / "train" / "dog" / "a.png", GREY[1])
    save_image(tmp_path / "test" / "dog" / "a.png", GREY[2])
    assert split_sizes(str(tmp_path), "") == {"train": 2, "test": 1}
    np.testing.assert_array_equal(load(str(tmp_path), "test", "").labels, [1])
    save_image(tmp_path / "validation" / "a.png", GREY[3])
    assert load(str(tmp_path), "validation", "").labels is None


def test_folder_modes_become_one_or_three_channels(tmp_path):
    for mode, num_channels in {"1": 1, "L": 1, "LA": 1, "P": 3, "RGBA": 3, "RGB": 3}.items():
        Image.fromarray(COLOUR[0]).convert(mode).save(tmp_path / "image.png")
        assert load(str(tmp_path), "train", "").images.shape == (1, 5, 4, num_channels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_folder_images_lie_as_their_exif_orientation_says(tmp_path, orientation):
    as_shown = Image.fromarray(COLOUR[0])
    # How a camera stores what is shown upright.
    stored = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    image = as_shown
    for step in stored[orientation]:
        image = image.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(load(str(tmp_path), "train", "").images, COLOUR[:1])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
def test_what_is_transparent_is_white(tmp_path, mode):
    colours = np.array([[[200, 0, 0, 255], [9, 90, 0, 0], [0, 40, 80, 51]]], np.uint8)
    image = Image.fromarray(colours)
    if mode == "P":
        # One colour of the palette is transparent.
        image = Image.fromarray(np.array([[0, 1, 0]], np.uint8)).convert("P")
        image.putpalette([200, 0, 0, 9, 90, 0])
        image.save(tmp_path / "image.png", transparency=1)
        expected = np.array([[[200, 0, 0], [255] * 3, [200, 0, 0]]], np.uint8)
    else:
        image = image.convert(mode)
        image.save(tmp_path / ("image.tif" if mode == "PA" else "image.png"))
        stored = np.asarray(image.convert("RGBA"), np.float64)
        opacity = stored[..., 3:] / 255
        expected = opacity * stored[..., :3] + (1 - opacity) * 255
    images = load(str(tmp_path), "train", "").images
    expected = expected if images.shape[-1] == 3 else expected[..., :1]
    np.testing.assert_allclose(images[0], expected, atol=1)


def test_grey_images_among_those_in_colour_get_three_channels(tmp_path):
    for index in range(3):
        save_image(tmp_path / "train" / f"{index}.png", GREY[index])
    save_image(tmp_path / "train" / "3.png", COLOUR[3])
    save_image(tmp_path / "test" / "0.png", GREY[4])
    images = load(str(tmp_path), "train", "").images
    np.testing.assert_array_equal(images[:3], np.repeat(GREY[:3, ..., np.newaxis], 3, axis=-1))
    np.testing.assert_array_equal(images[3], COLOUR[3])
    assert load(str(tmp_path), "test", "").images.shape == (1, 5, 4, 3)


def test_one_image_in_colour_that_was_not_looked_at_is_named(tmp_path):
    for index in range(202):
        save_image(tmp_path / f"{index:03d}.png", COLOUR[0] if index == 1 else GREY[0])
    refused(tmp_path, r"001\.png is in colour, .* convert it to grey", "train[:2]")


def test_folder_mistakes(tmp_path):
    refused(tmp_path, "holds no images")
    save_image(tmp_path / "a.png", GREY[0])
    save_image(tmp_path / "b.png", GREY[0, 1:])
    refused(tmp_path, r"b\.png is 4x4 .*, but .*a\.png is 5x4")
    save_image(tmp_path / "b.png", GREY[0].astype(np.uint16))
    refused(tmp_path, r"b\.png: has more than 8 bits")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:45])
    refused(tmp_path, r"b\.png: cannot be decoded")
    (tmp_path / "b.png").write_bytes(b"hello")
    refused(tmp_path, r"b\.png: cannot be decoded")
    (tmp_path / "b.png").unlink()
    refused(tmp_path / "a.png", "is a file")
    save_image(tmp_path / "cat" / "a.png", GREY[0])
    refused(tmp_path, "both images, such as 'a.png', and folders of them, such as 'cat'")
    (tmp_path / "a.png").unlink()
    save_image(tmp_path / "test" / "a.png", GREY[0])
    refused(tmp_path, "the split 'test' and beside it 'cat'", "test")


FACTORS = {
    "train_factors": np.array([[0, 2], [1, 0], [0, 1], [1, 1], [0, 0], [1, 2]], np.uint8),
    "test_factors": np.array([[2, 0], [0, 3]]),
}


def test_npz_with_factors_has_their_names_and_the_sizes_of_all_splits(tmp_path):
    path = tmp_path / "known.npz"
    images = {"train_images": GREY, "test_images": GREY[:2]}
    np.savez(path, **images, **FACTORS, factors_names=["kind", "position"])
    both = load(str(path), "test+train[4:]", "").factors
    assert (both.names, both.sizes) == (("kind", "position"), (3, 4))
    assert both.values.dtype == np.int32
    np.testing.assert_array_equal(both.values, [[2, 0], [0, 3], [0, 0], [1, 2]])
    np.savez(path, images=GREY, factors=FACTORS["train_factors"])
    train = load(str(path), "train", "").factors
    assert (train.names, train.sizes) == (("factor_0", "factor_1"), (2, 3))
    np.savez(path, train_factors=FACTORS["train_factors"], **images)
    assert load(str(path), "train", "").factors is not None
    assert load(str(path), "test", "").factors is None


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"factors": np.zeros(6, int)}, r"'factors' has shape \[6\].* \[num_examples, num_factors"),
        ({"factors": np.zeros((6, 2))}, "type float64; factors must be integers"),
        ({"factors": np.zeros((6, 0), int)}, r"has shape \[6, 0\]"),
        ({"factors": np.zeros((5, 2), int)}, r"with 6 images it must be \[6, num_factors\]"),
        ({"factors": -np.ones((6, 2), int)}, "'factors' has negative values"),
        (
            {"factors": np.zeros((6, 2), int), "factors_names": ["a", "a"]},
            r"'factors_names' is \['a', 'a'\]; it must be 2 different names",
        ),
    ],
)
def test_npz_mistakes_in_the_factors(tmp_path, factors, message):
    path = tmp_path / "wrong.npz"
    np.savez(path, images=GREY, **factors)
    refused(path, f"wrong.npz.*{message}")


def test_npz_splits_with_several_numbers_of_factors(tmp_path):
    path = tmp_path / "wrong.npz"
    factors = {"train_factors": np.zeros((6, 2), int), "test_factors": np.zeros((2, 3), int)}
    np.savez(path, train_images=GREY, test_images=GREY[:2], **factors)
    refused(path, r"several numbers of factors: .*train_factors \[6, 2\]")


def test_a_link_to_a_folder_that_holds_it_is_refused(tmp_path):
    (tmp_path / "one").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "one" / "a.png")
    (tmp_path / "one" / "again").symlink_to(tmp_path)
    with pytest.raises(UserError, match="again is a link to a folder that holds it"):
        split_sizes(str(tmp_path), "")


def test_npz_with_conditions_keeps_them_beside_the_images(tmp_path):
    path = tmp_path / "conditions.npz"
    numbers = np.arange(12.0).reshape(6, 2)
    images = {"train_images": GREY, "test_images": GREY[:2]}
    np.savez(path, **images, train_conditions=numbers, test_conditions=[[True, False]] * 2)
    both = load(str(path), "test+train[4:]", "").conditions
    assert both.dtype == np.float32
    np.testing.assert_array_equal(both, [[1, 0], [1, 0], [8, 9], [10, 11]])
    np.savez(path, images=GREY, conditions=numbers)
    np.testing.assert_array_equal(load(str(path), "train[1:3]", "").conditions, numbers[1:3])
    np.savez(path, **images, train_conditions=numbers)
    assert load(str(path), "test", "").conditions is None


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"conditions": np.zeros(6)}, r"'conditions' has shape \[6\].* \[num_examples, features\]"),
        ({"conditions": np.full((6, 2), "a")}, "type <U1; conditions must be numbers"),
        ({"conditions": np.zeros((6, 2), complex)}, "type complex128; conditions must be numbers"),
        ({"conditions": np.zeros((6, 0))}, r"has shape \[6, 0\]"),
        ({"conditions": np.zeros((5, 2))}, r"with 6 images it must be \[6, features\]"),
        ({"conditions": np.full((6, 2), np.nan)}, "NaN or infinite values in 6 of 6 rows, first"),
    ],
)
def test_npz_mistakes_in_the_conditions(tmp_path, conditions, message):
    path = tmp_path / "wrong.npz"
    np.savez(path, images=GREY, **conditions)
    refused(path, message)


def test_npz_splits_with_several_numbers_of_conditions(tmp_path):
    path = tmp_path / "wrong.npz"
    conditions = {"train_conditions": np.zeros((6, 2)), "test_conditions": np.zeros((2, 3))}
    np.savez(path, train_images=GREY, test_images=GREY[:2], **conditions)
    refused(path, r"several numbers of features: .*train_conditions \[6, 2\]")
