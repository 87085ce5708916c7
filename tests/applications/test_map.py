import shutil
import sys
import types

import numpy as np
import pytest
import small_runs
from absl.testing import flagsaver
from PIL import Image

from experiments import map as map_command
from vae_jax import trained
from vae_jax.applications.representation import projector
from vae_jax.errors import UserError
from vae_jax.evaluation import plane_maps

pytestmark = pytest.mark.usefixtures("parsed_flags")

RNG = np.random.default_rng(0)


def blobs(num=90):
    labels = np.arange(num) % 3
    return 10.0 * np.eye(5)[labels] + RNG.normal(size=(num, 5)), labels


def assert_apart(points, labels):
    centres = np.array([points[labels == value].mean(axis=0) for value in range(3)])
    nearest = np.linalg.norm(points[:, None] - centres, axis=-1).argmin(axis=1)
    assert (nearest == labels).mean() > 0.95


def test_principal_components_find_the_two_long_axes_of_a_cloud():
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    scales = np.array([5.0, 3.0, 0.1, 0.1, 0.1])
    points = (rng.normal(size=(4000, 5)) * scales) @ rotation.T + 7
    projected, share = plane_maps.principal_components(points)
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(projected.std(axis=0), [5, 3], rtol=0.05)
    variances = np.linalg.eigvalsh(np.cov(points.T))[::-1]
    np.testing.assert_allclose(share, variances[:2] / variances.sum(), rtol=1e-9)
    np.testing.assert_allclose(np.corrcoef(projected.T)[0, 1], 0, atol=1e-9)


def test_the_sign_of_a_principal_component_does_not_depend_on_the_order_of_the_points():
    points = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32) * [4, 3, 2, 1]
    projected, _ = plane_maps.principal_components(points)
    backwards, _ = plane_maps.principal_components(points[::-1].copy())
    np.testing.assert_allclose(backwards[::-1], projected, atol=1e-6)


def test_principal_components_of_a_single_point_and_of_too_little():
    projected, share = plane_maps.principal_components(np.ones((6, 3)))
    assert (projected == 0).all()
    assert (share == 0).all()
    with pytest.raises(ValueError, match=r"\(6, 1\)"):
        plane_maps.principal_components(np.ones((6, 1)))


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_classes_that_lie_apart_stay_apart_and_a_seed_fixes_the_map(method):
    codes, labels = blobs()
    points = plane_maps.plane_map(method, codes, seed=1)
    assert points.shape == (90, 2)
    assert_apart(points, labels)
    np.testing.assert_array_equal(plane_maps.plane_map(method, codes, seed=1), points)


def test_umap_keeps_classes_apart():
    pytest.importorskip("umap", reason="umap-learn is optional", exc_type=ImportError)
    codes, labels = blobs(18)
    assert_apart(plane_maps.plane_map("umap", codes), labels)


def test_umap_gets_no_more_neighbours_than_there_are(monkeypatch):
    asked = {}

    class Umap:
        def __init__(self, **options):
            asked.update(options)

        def fit_transform(self, codes):
            return codes[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Umap))
    codes, _ = blobs(9)
    np.testing.assert_array_equal(plane_maps.plane_map("umap", codes, 7), codes[:, :2])
    assert asked == {"n_neighbors": 8, "random_state": 7, "n_jobs": 1}


def test_without_umap_learn_its_installation_is_suggested(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match=r"optional: pip install 'umap-learn>="):
        plane_maps.plane_map("umap", blobs()[0])


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((4, 3)), "4 codes of 3 numbers cannot be mapped"),
        (np.zeros((50, 1)), "50 codes of 1 numbers cannot be mapped"),
        (np.full((6, 3), np.nan), "6 of the 6 codes are not finite"),
    ],
)
def test_codes_that_have_no_map_are_refused(codes, message):
    with pytest.raises(UserError, match=message):
        plane_maps.plane_map("pca", codes)


def read_table(path):
    return np.array([line.split("\t") for line in path.read_text().splitlines()], float)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_projector_gets_codes_classes_and_images_in_one_order(tmp_path, channels):
    codes, labels = RNG.normal(size=(11, 3)), np.arange(11) % 4
    images = RNG.random((11, 6, 5, channels))
    projector.write(tmp_path, codes, labels, images)
    np.testing.assert_allclose(read_table(tmp_path / "projector/tensors.tsv"), codes, rtol=1e-5)
    np.testing.assert_array_equal(read_table(tmp_path / "projector/metadata.tsv")[:, 0], labels)
    with Image.open(tmp_path / "projector/sprite.png") as png:
        # Four per row, as many as there are rows.
        assert png.size == (4 * 5, 4 * 6)
        sprite = np.asarray(png).reshape(24, 20, channels)
    for index, image in enumerate(images):
        top, left = index // 4 * 6, index % 4 * 5
        cell = sprite[top : top + 6, left : left + 5]
        np.testing.assert_allclose(cell / 255, image, atol=0.5 / 255 + 1e-9)
    assert (sprite[12:, 15:] == 0).all()


def test_tensorboard_reads_the_projectors_config(tmp_path):
    config_pb2 = pytest.importorskip("tensorboard.plugins.projector.projector_config_pb2")
    from google.protobuf import text_format

    images = np.zeros((5, 6, 4, 1))
    # A second call replaces the config.
    projector.write(tmp_path, np.zeros((5, 3)), np.arange(5), images)
    projector.write(tmp_path, np.zeros((5, 3)), None, images)
    assert "metadata" not in (tmp_path / "projector_config.pbtxt").read_text()
    projector.write(tmp_path, np.zeros((5, 3)), np.arange(5), images)
    text = (tmp_path / "projector_config.pbtxt").read_text()
    config = text_format.Parse(text, config_pb2.ProjectorConfig())
    (embedding,) = config.embeddings
    assert list(embedding.sprite.single_image_dim) == [4, 6]
    for path in (embedding.tensor_path, embedding.metadata_path, embedding.sprite.image_path):
        assert (tmp_path / path).is_file()


def test_more_images_than_a_browser_takes_are_refused(tmp_path):
    assert projector.most_images((28, 28, 1)) == 292**2
    images = np.zeros((5, 4096, 8, 1), np.float32)
    with pytest.raises(UserError, match=r"5 images of 4096x8 pixels do not fit .* use at most 4"):
        projector.write(tmp_path, np.zeros((5, 3)), None, images)
    assert not list(tmp_path.iterdir())


def command(**given):
    with flagsaver.flagsaver(**given):
        map_command.main()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    images = RNG.integers(0, 256, (60, 4, 3), dtype=np.uint8)
    labels = np.arange(60) % 3
    np.savez(folder / "own.npz", train_images=images, test_images=images, test_labels=labels)
    changes = {"data.name": str(folder / "own.npz"), "data.binarization": "none"}
    changes |= {"data.train_split": "train", "data.validation_split": ""}
    small_runs.save(folder / "run", small_runs.make_model((4, 3, 1), **changes))
    return folder / "run"


def test_the_command_draws_maps_and_writes_for_the_projector(run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    command(workdir=str(folder), methods=["pca"], projector=True)
    assert "wrote 60 codes" in capsys.readouterr().out
    assert [path.name for path in (folder / "plots").iterdir()] == ["map_pca.png"]
    model = trained.load(folder)
    with np.load(model.config.data.name) as data:
        codes = model.encode(data["test_images"][..., None])
    written = read_table(folder / "projector/tensors.tsv")
    np.testing.assert_allclose(written, codes, rtol=1e-4, atol=1e-6)
    before = sorted(folder.rglob("*"))
    command(workdir=str(folder), methods=["pca"], projector=True, output=str(tmp_path / "out"))
    assert sorted(folder.rglob("*")) == before
    assert (tmp_path / "out" / "plots" / "map_pca.png").is_file()
    # The projector alone. The principal components are in latents.png already.
    assert map_command._METHODS.default == ["tsne"]
    command(workdir=str(folder), methods=[], projector=True)


def test_a_method_that_is_not_there_is_named(run):
    with pytest.raises(UserError, match="--methods=pca,mds must be some of pca, tsne, umap"):
        command(workdir=str(run), methods=["pca", "mds"])
