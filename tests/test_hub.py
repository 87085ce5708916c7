"""The hub's client against a server on this machine, which keeps what is sent to it."""

import base64
import http.server
import json
import sys
import threading
import time

import numpy as np
import pytest
import small_runs

import vae_jax
from vae_jax import hub
from vae_jax.errors import UserError

IMAGE_SHAPE = (4, 3, 1)
COMMIT = "0" * 40


class _Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does to what `upload` and `download` ask."""

    files: dict[str, bytes]

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        address = f"http://{self.headers['Host']}/me/digits"
        if self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.files[value["path"]] = base64.b64decode(value["content"])
            answer = {"success": True, "commitUrl": f"{address}/commit/{COMMIT}"}
            answer |= {"commitOid": COMMIT, "hookOutput": ""}
        elif self.path.endswith("/preupload/main"):
            asked = json.loads(body)["files"]
            answer = {
                "files": [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for file in asked
                ]
            }
        elif self.path.endswith("/repos/create"):
            answer = {"url": address, "name": "me/digits", "id": "me/digits"}
        else:
            answer = {"errors": [], "warnings": []}
        self._send(json.dumps(answer).encode(), "application/json")

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        name = self.path.split("?")[0].rpartition("/")[2]
        known = self.path.startswith("/me/digits/resolve/main/") and name in self.files
        self._send(self.files[name] if known else b"", status=200 if known else 404)

    def _send(self, content, kind="application/octet-stream", status=200):
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": len(content), "ETag": '"1"'}
        headers |= {"X-Repo-Commit": COMMIT}
        headers |= {"X-Error-Code": "RepoNotFound"} if status == 404 else {}
        for key, value in headers.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Files of a server that the client takes for the hub."""
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    from huggingface_hub import constants

    handler = type("Hub", (_Hub,), {"files": {}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{listening.server_port}"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield handler.files
        listening.shutdown()


def test_a_model_that_is_sent_comes_back(server, tmp_path):
    small_runs.save(tmp_path / "run", small_runs.make_model(IMAGE_SHAPE))
    model = vae_jax.load(tmp_path / "run")
    sent = {hub.MODEL: model.to_bytes(), hub.CARD: b"# digits\n"}
    assert hub.upload("hf://me/digits", sent).endswith(COMMIT)
    assert server == sent
    loaded = vae_jax.load("hf://me/digits")
    images = np.random.default_rng(0).integers(0, 256, (3, *IMAGE_SHAPE), np.uint8)
    np.testing.assert_array_equal(loaded.encode(images), model.encode(images))
    with pytest.raises(UserError, match="has no member 1"):
        vae_jax.load("hf://me/digits", member=1)
    with pytest.raises(UserError, match=r"^hf://me/nothing is not to be had") as refused:
        vae_jax.load("hf://me/nothing")
    assert "\n" not in str(refused.value)


def test_a_hub_that_is_not_reached_is_an_error_in_one_line(server, monkeypatch):
    from huggingface_hub import constants

    # The client tries again, after longer and longer waits.
    monkeypatch.setattr(time, "sleep", lambda _: None)
    closed = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "ENDPOINT", closed)
    template = closed + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    for ask in (lambda: hub.download("hf://me/a"), lambda: hub.upload("hf://me/a", {})):
        with pytest.raises(UserError, match=r"^hf://me/a is not to be had") as refused:
            ask()
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "address", ["hf://", "hf://name", "hf://a/b/c", "hf://a/b@", "hf://a/ b", "hf://a/b@x y"]
)
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(UserError, match="must be hf://USER/NAME"):
        hub.download(address)


def test_a_revision_is_for_loading_alone():
    assert hub.parse("hf://a/b@refs/pr/1") == hub.Address("a/b", "refs/pr/1")
    with pytest.raises(UserError, match=r"names a revision; a model is sent to hf://a/b$"):
        hub.upload("hf://a/b@main", {})


def test_the_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for ask in (lambda: vae_jax.load("hf://a/b"), lambda: hub.upload("hf://a/b", {})):
        with pytest.raises(UserError, match=r"pip install -e '\.\[hub\]'"):
            ask()
