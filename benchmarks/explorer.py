"""Measure how long the explorer's page takes to load and to answer, in a headless Chromium.

    python -m benchmarks.explorer --workdir=runs/vanilla \
        --output=benchmarks/results/explorer_cpu.json

A load ends when all parts are drawn; the first fills the browser's cache. An answer lasts from the
change of a slider in the browser until the picture that the server decoded has come back and the
next frame begins.
"""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks import browser
from experiments import command_line
from experiments import flags as shared
from vae_jax.errors import UserError
from vae_jax.evaluation import results_file

shared.define("workdir", output="JSON file to write; empty prints only")

_REPEATS = flags.DEFINE_integer("repeats", 40, "timed answers of each kind", lower_bound=1)
_LOADS = flags.DEFINE_integer("loads", 5, "timed loads", lower_bound=1)
_SCREENSHOTS = flags.DEFINE_string("screenshots", None, "folder for pictures of the page")

DRAWN = "!!window.Bokeh?.documents?.[0]?.is_idle && Bokeh.documents[0].roots().length > 1"

# Resolves to the milliseconds until the picture has changed.
_ANSWER = """
(() => new Promise(resolve => {{
  const page = Bokeh.documents[0], start = performance.now();
  const changed = page.get_model_by_name("picture_image").properties.data.change;
  const done = () => {{
    changed.disconnect(done);
    requestAnimationFrame(() => resolve(performance.now() - start));
  }};
  changed.connect(done);
  {act};
}}))()
"""
_SLIDE = 'page.get_model_by_name("{name}").value = {value}'


def _summary(values: list[float]) -> dict[str, float]:
    return {
        "median": float(np.median(values)),
        "at_95_percent": float(np.quantile(values, 0.95)),
        "num": len(values),
    }


async def _measure(url: str, binary: str) -> dict[str, Any]:
    loads, answers = [], []
    async with browser.browsing(binary) as page:
        await page.resize(1400, 900)
        for _ in range(_LOADS.value):
            await page.open("about:blank")
            start = time.perf_counter()
            await page.open(url)
            await page.wait_for(DRAWN, 300)
            loads.append(1000 * (time.perf_counter() - start))
        name = await page.evaluate(
            "[...Bokeh.documents[0]._all_models.values()].map(m => m.name)"
            ".find(name => name?.startsWith('latent_'))"
        )
        for index in range(_REPEATS.value + 1):
            act = _SLIDE.format(name=name, value=(-1) ** index * (1 + index / 100))
            answers.append(await page.evaluate(_ANSWER.format(act=act)))
        outside = {
            a
            for a in page.requests
            if not a.startswith(("data:", "blob:", "about:", url, url.replace("http", "ws")))
        }
        if _SCREENSHOTS.value:
            for width in (1400, 420):
                await page.resize(width, 900)
                await asyncio.sleep(2)
                await page.screenshot(Path(_SCREENSHOTS.value) / f"explorer_{width}.png")
    return {
        "first_load_ms": loads[0],
        "load_ms": _summary(loads[1:] or loads),
        # The first answer is of an idle connection.
        "slider_ms": _summary(answers[1:]),
        "requests_to_elsewhere": sorted(outside),
        "script_errors": page.errors,
    }


def main() -> None:
    """Measure the page of --workdir, print a line each, write the JSON."""
    binary = browser.find()
    if binary is None:
        raise UserError("no Chromium is installed; install one, such as Debian's chromium")
    folder = shared.required_workdir()
    command = [sys.executable, "-m", "experiments.explore", f"--workdir={folder}", "--port=0"]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            url = next((line for line in server.stdout if line.startswith("open ")), "").split()
            if not url:
                raise UserError(f"--workdir={folder} cannot be served")
            seconds = time.perf_counter() - start
            measured = asyncio.run(_measure(url[1], binary))
        finally:
            server.terminate()
    results = {
        **results_file.circumstances("benchmarks.explorer"),
        # More processes than cores wait for one another.
        "load_average": os.getloadavg()[0],
        "start_seconds": seconds,
        **measured,
    }
    for name, value in measured.items():
        print(f"{name}: {value}")
    results_file.write(flags.FLAGS.output, results)


if __name__ == "__main__":
    command_line.run(main)
