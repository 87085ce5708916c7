"""The explorer: its functions, its page driven in Python, its file, and its page in a browser."""

import asyncio
import base64
import functools
import io
import logging
import re
import tarfile
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.events import Tap
from PIL import Image

from benchmarks import browser
from benchmarks.explorer import DRAWN
from vae_jax import trained
from vae_jax.applications.explorer import (
    explored,
    page,
    pictures,
    planes,
    runs,
    server,
    single_file,
)
from vae_jax.errors import UserError

RNG = np.random.default_rng(0)


@functools.cache
def _opened(folder, like=None):
    return explored.open_run(folder, like)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explored")
    for name in ("vanilla", "autoencoder", "grid"):
        with tarfile.open(f"tests/old_runs/{name}.tar.xz") as tar:
            tar.extractall(folder / name, filter="data")
    return {name: folder / name / name / "finished" for name in ("vanilla", "autoencoder", "grid")}


@pytest.fixture(scope="module")
def vanilla(folders):
    return _opened(folders["vanilla"])


@pytest.fixture(scope="module")
def built(vanilla):
    return page.build(Document(), vanilla)


@pytest.fixture
def shown(built, vanilla):
    built.show(vanilla.centre)
    return built


def _image(source):
    return np.array(source.data["image"][0])


def test_a_plane_of_many_latents_gives_back_what_lies_in_it():
    latents = RNG.normal(size=(50, 5)) * [5, 3, 0.1, 0.1, 0.1] + 7
    plane = planes.of_codes(latents)
    points = plane.points(latents)
    np.testing.assert_allclose(plane.latents(points), latents, atol=0.6)
    np.testing.assert_allclose(plane.points(plane.latents(points)), points, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2])
def test_a_plane_of_few_latents_is_these_latents(size):
    plane = planes.of_codes(RNG.normal(size=(9, size)))
    np.testing.assert_allclose(plane.latents(np.array([0.5, -1])), [0.5, -1][:size])
    np.testing.assert_allclose(plane.points(np.ones(size)), [1, 1 if size == 2 else 0])


def test_pixels_are_those_of_the_image_from_the_lowest_row():
    image = np.zeros((2, 3, 3))
    image[1, 2] = [1, 0.2, 5]
    pixels = pictures.rgba(image).view(np.uint8).reshape(2, 3, 4)
    assert pixels[0, 2].tolist() == [255, 51, 255, 255]
    assert pixels[1].tolist() == [[0, 0, 0, 255]] * 3


def test_strokes_are_drawn_where_they_were():
    image = pictures.strokes([[4, 4], []], [[2, 24], []], (28, 20, 1))
    assert image.shape == (28, 20, 1)
    assert image[10, 4] > 0.8
    # Up is up: the stroke ends 24 pixels above the lowest row.
    assert (image[2].max(), image[:, 8:].max()) == (0, 0)


def _file(size, colour):
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def test_an_uploaded_picture_is_fitted_and_may_be_inverted():
    image = pictures.uploaded(_file((40, 10), "white"), (8, 8, 1), inverted=False)
    assert image[3:5].min() == 1
    assert image[[0, -1]].max() == 0
    assert pictures.uploaded(_file((9, 9), "white"), (8, 8, 3), inverted=True).max() == 0


@pytest.mark.parametrize("content", ["", "eA==", "!", _file((5000, 1), "white")])
def test_what_is_no_picture_is_refused_in_a_line(content):
    with pytest.raises(UserError, match="picture"):
        pictures.uploaded(content, (8, 8, 1), inverted=False)


def test_sliders_are_ordered_by_the_kl_that_the_summary_has(vanilla):
    kl = np.array([0.0656, 0.0938, 0.0910])
    # The summary has estimates by draws, of other draws of the pixels.
    np.testing.assert_allclose(vanilla.importance, kl, rtol=0.3)
    assert vanilla.in_nats
    assert np.diff(vanilla.importance[vanilla.order]).max() <= 0


def test_a_model_without_a_density_is_ordered_by_variance_and_has_no_prior(folders):
    opened = _opened(folders["autoencoder"])
    assert not opened.in_nats
    np.testing.assert_allclose(opened.importance, opened.latents.var(axis=0))
    np.testing.assert_array_equal(
        page.build(Document(), opened).latents, opened.latents.mean(axis=0)
    )
    assert opened.sample(3) in opened.latents


def test_discrete_latents_are_refused(monkeypatch):
    model = SimpleNamespace(has_codes=False, has_discrete_latents=True, name="gumbel")
    monkeypatch.setattr(trained, "load_images", lambda folder: model)
    with pytest.raises(UserError, match="model='gumbel', whose latents are discrete"):
        explored.open_run(Path("x"))


def test_members_share_images_and_programs(folders):
    first, second = (_opened(folders["grid"] / "members" / name) for name in ("0000", "0001"))
    alike = explored.open_run(second.folder, like=first)
    assert alike.examples is first.examples
    assert alike.model._compiled is first.model._compiled
    np.testing.assert_array_equal(alike.decode(second.centre), second.decode(second.centre))
    assert alike.model.seed == second.model.seed != first.model.seed


def test_runs_are_named_by_what_they_differ_in(folders):
    found = runs.describe(runs.of_sweep(folders["grid"]))
    assert [run.name for run in found] == [f"member {index}" for index in range(4)]
    assert found[0].settings == "beta=0.5, seed=0"
    assert found[0].rate == pytest.approx(0.44787, rel=1e-4)
    assert runs.best(found) == 3
    assert runs.of_sweep(folders["vanilla"]) == []


def test_a_slider_decodes_its_latent(shown, vanilla):
    index = vanilla.order[1]
    shown.sliders[1].value = 2.0
    expected = vanilla.centre.copy()
    expected[index] = 2.0
    np.testing.assert_array_equal(_image(shown.picture), pictures.rgba(vanilla.decode(expected)))
    np.testing.assert_allclose(
        [shown.mark.data["x"][0], shown.mark.data["y"][0]], vanilla.plane.points(expected)
    )


def test_a_tap_on_the_map_decodes_the_point_and_moves_the_sliders(shown, vanilla):
    shown.roots["map"]._trigger_event(Tap(shown.roots["map"], x=0.3, y=-0.2))
    expected = vanilla.plane.latents(np.array([0.3, -0.2]))
    np.testing.assert_array_equal(_image(shown.picture), pictures.rgba(vanilla.decode(expected)))
    moved = [slider.value for slider in shown.sliders]
    np.testing.assert_allclose(moved, expected[vanilla.order], rtol=1e-6)
    # Beside the axes there is no point.
    shown.show_point(None, 1.0)
    np.testing.assert_array_equal(shown.latents, expected)


def test_degrees_lead_from_one_test_image_to_another(shown, vanilla):
    shown.choose(4)
    shown.choose(7)
    shown.choose(99)
    np.testing.assert_allclose(shown.latents, vanilla.latents[4], rtol=1e-6)
    shown.degree.value = 1.0
    np.testing.assert_allclose(shown.latents, vanilla.latents[7], rtol=1e-6)
    assert shown.degree.value == 1.0
    shown.sliders[0].value = 0.5
    assert shown.degree.value == 0


def test_attributes_add_up_from_where_the_latents_were(shown, vanilla):
    shown.show(vanilla.latents[3])
    degrees = {"attribute_thickness": 0.5, "attribute_class": 1.0}
    for slider in shown.degrees:
        slider.value = degrees.get(slider.name, 0)
    shown.towards.value = "class 4"
    found = vanilla.directions
    expected = vanilla.latents[3] + 0.5 * found["thickness"] + found["class 4"]
    np.testing.assert_allclose(shown.latents, expected, rtol=1e-5)
    shown.sliders[0].value = 0.25
    assert {slider.value for slider in shown.degrees} == {0}


def test_images_in_colour_have_no_attributes_of_strokes(vanilla, monkeypatch):
    examples = vanilla.examples
    latents = np.resize(vanilla.latents, (len(examples.train), 3))
    monkeypatch.setattr(explored, "draw_latents", lambda model, images, key: latents)
    keys, (height, width, _) = vanilla.model.keys, vanilla.model.image_shape
    opened = SimpleNamespace(
        model=SimpleNamespace(image_shape=(height, width, 3), keys=keys),
        examples=examples._replace(train=np.repeat(examples.train, 3, axis=-1)),
    )
    named = explored.Explored.directions.func(opened)
    assert all(name.startswith("class ") for name in named)
    assert len(named) == 10


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/a/b/own.npz", "own.npz"),
        ("b/own.npz", "own.npz"),
        ("~/photographs", "photographs"),
        ("mnist", "mnist"),
        ("smallnorb/azimuth", "smallnorb/azimuth"),
        ("mine:points", "mine:points"),
    ],
)
def test_pages_name_data_without_their_folders(name, shown):
    assert explored.without_folders(name) == shown


def test_a_visitor_who_leaves_is_not_reported():
    record = logging.makeLogRecord({"msg": "Failed sending message as connection was closed"})
    assert not server._is_shown(record)
    assert server._is_shown(logging.makeLogRecord({"msg": "another"}))


def test_a_drawn_and_an_uploaded_image_are_reconstructed(shown, vanilla):
    shown.drawn.data = {"xs": [[1, 4]], "ys": [[1, 4]]}
    drawn = _image(shown.given)
    image = pictures.strokes([[1, 4]], [[1, 4]], vanilla.model.image_shape)
    np.testing.assert_array_equal(drawn, pictures.rgba(image))
    expected = vanilla.model.reconstruct(image[None])[0]
    np.testing.assert_array_equal(_image(shown.restored), pictures.rgba(expected))
    shown.file._property_values["value"] = "eA=="
    shown._take_file()
    assert "no picture" in shown.problem.text
    np.testing.assert_array_equal(_image(shown.given), drawn)
    shown.clear()
    assert _image(shown.given).view(np.uint8)[0, :3].max() == 0


def test_the_metric_of_the_curves_is_chosen(shown):
    curve = shown.roots["curves"].select_one({"name": "valid", "type": page.ColumnDataSource})
    before = list(curve.data["y"])
    shown.metric.active = 1
    assert list(curve.data["y"]) != before
    assert len(curve.data["x"]) == 2


def test_the_file_has_the_decoded_images_and_asks_for_nothing(vanilla, tmp_path):
    target = tmp_path / "a.html"
    single_file.write(vanilla, target)
    text = target.read_text()
    assert not re.search(r"(src|href)=|https?:", text)
    assert "data digits.npz" in text
    assert str(Path("tests").resolve()) not in text
    assert len(text) < 3e6
    images, across, up = single_file.decoded_grid(vanilla)
    latents = vanilla.centre.copy()
    latents[vanilla.order[:2]] = across[3], up[20]
    np.testing.assert_allclose(images[20, 3], vanilla.decode(latents), atol=1e-5)
    sheet = re.search(r'"sheet":"data:image/png;base64,([^"]*)"', text)[1]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet))))
    height, width, _ = vanilla.model.image_shape
    cell = pixels[20 * height : 21 * height, 3 * width : 4 * width]
    np.testing.assert_array_equal(cell, pictures.grey_or_colour(images[20, 3])[..., 0])
    with pytest.raises(UserError, match=r"must end in \.html"):
        single_file.require_suffix(tmp_path / "a.png")


def test_large_images_have_a_smaller_grid():
    assert single_file.grid_size((28, 28, 1)) == 25
    assert single_file.grid_size((64, 64, 3)) == 11
    assert single_file.grid_size((512, 512, 3)) == 7


def test_the_page_of_a_run_is_served_to_this_machine_alone(folders):
    """A known run is opened by its number; a wrong number opens the first."""
    found = runs.describe(runs.of_sweep(folders["grid"]))
    listening = server.claim(0)
    assert listening.getsockname()[0] == "127.0.0.1"
    with pytest.raises(UserError, match=r"in use; name another, or --port=0"):
        server.claim(listening.getsockname()[1])

    async def titles():
        serving = server.start(listening, found, 3)
        try:
            return [
                await asyncio.to_thread(_title, server.url(listening) + query)
                for query in ("", "?run=1", "?run=x", "?run=99")
            ]
        finally:
            serving.stop()

    names = [title.split(" ")[0] for title in asyncio.run(titles())]
    assert names == ["0003", "0001", "0003", "0003"]


def _title(url):
    with urllib.request.urlopen(url) as answer:
        return re.search(r"<title>\s*(.*?)\s*</title>", answer.read().decode())[1]


@pytest.mark.slow  # the start of a browser
def test_a_browser_slides_and_clicks(folders, vanilla):
    binary = browser.find()
    if binary is None:
        pytest.skip("no Chromium is installed")
    listening = server.claim(0)
    url = server.url(listening)
    picture = (
        "Array.from(Bokeh.documents[0].get_model_by_name('picture_image').data.image[0]).join()"
    )
    place = "Bokeh.documents[0].get_model_by_name('mark').data.x[0]"

    async def visit():
        serving = server.start(listening, runs.describe([folders["vanilla"]]), 0)
        try:
            async with browser.browsing(binary) as visitor:
                await visitor.resize(1400, 900)
                await visitor.open(url)
                await visitor.wait_for(DRAWN)
                seen = [await visitor.evaluate(picture)]
                slider = f"latent_{vanilla.order[0]}"
                await visitor.evaluate(
                    f"Bokeh.documents[0].get_model_by_name('{slider}').value = 2; 0"
                )
                seen.append(await visitor.wait_for(f"{picture} != '{seen[0]}' && {picture}"))
                before = await visitor.evaluate(place)
                x, y = await visitor.evaluate(
                    "(() => { const at = document.querySelector('.map').getBoundingClientRect();"
                    "return [at.x + 0.6 * at.width, at.y + 0.5 * at.height] })()"
                )
                await visitor.click(x, y)
                seen.append(await visitor.wait_for(f"{picture} != '{seen[1]}' && {picture}"))
                assert await visitor.evaluate(place) != before
                return seen, visitor.requests, visitor.errors
        finally:
            serving.stop()

    seen, requests, errors = asyncio.run(visit())
    latents = vanilla.centre.copy()
    latents[vanilla.order[0]] = 2
    for image, expected in zip(seen, (vanilla.centre, latents), strict=False):
        pixels = pictures.rgba(vanilla.decode(expected)).ravel()
        assert [int(number) for number in image.split(",")] in (
            pixels.tolist(),
            pixels.view(np.uint8).tolist(),
        )
    assert errors == []
    local = ("data:", "about:", url, url.replace("http", "ws"))
    assert [address for address in requests if not address.startswith(local)] == []
