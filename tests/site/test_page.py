"""The page without Python, in headless Chromium: it answers as the library does, and asks nothing of other machines."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image

from dcnlib import load_cluttered, load_pretrained, predict
from dcnlib.analysis.cost import count_rounds
from dcnlib.data.pictures import read_picture
from dcnlib.models.tasks import ClutteredMNISTTask
from dcnlib.utils.files import project_root

pytest.importorskip("playwright", reason="the browser tests need Playwright for Python")

from browser_servers import chromium, find_chromium
from playwright.sync_api import Page, expect

if find_chromium() is None:
    pytest.skip("the browser tests need Chromium or Chrome on the PATH", allow_module_level=True)
if shutil.which("npm") is None:
    pytest.skip("the page is built with npm, and there is none on the PATH", allow_module_level=True)

ROOT = project_root()
COUNT = 200
ALL_K = range(33)
FIRST_LOOK_BYTES = 15_000_000


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing: the test's output is not the server's log."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files, two folders below what the server serves."""
    folder = tmp_path_factory.mktemp("served") / "site" / "explorer"
    install = ["npm", "ci", "--prefix", "site", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(install, check=True, cwd=ROOT)
    write = "import sys, pathlib, explorer_files as e; e.write_explorer(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", write, str(folder)], check=True, cwd=ROOT / "site")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The page in a subfolder of a plain web server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder.parents[1])))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/site/explorer/"
    server.shutdown()


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.asked, page.errors = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(address)
        expect(page.locator("#fine")).to_contain_text("fine model", timeout=60_000)
        yield page
        assert page.errors == []


def test_a_first_look_asks_only_this_server_and_for_less_than_15_megabytes(page, address, folder):
    assert all(url.startswith((address, "data:", "blob:")) for url in page.asked)
    files = {url.removeprefix(address) or "index.html" for url in page.asked if url.startswith(address)}
    assert sum((folder / name).stat().st_size for name in files) < FIRST_LOOK_BYTES


def test_the_first_answer_is_the_librarys(page):
    expect(page.locator("#verdict")).to_contain_text("Before the closer look: 6")
    expect(page.locator("#verdict")).to_contain_text("After 8 patches: 0")
    page.locator("#k").focus()
    page.keyboard.press("Home")
    expect(page.locator("#verdict")).to_contain_text("After 0 patches: 6")
    expect(page.locator("#verdict")).to_contain_text("Wrong: it is a 0")


def test_every_k_answers_as_the_library_does(page):
    images, _ = load_cluttered("all", source="embedded")[np.arange(COUNT)]
    with torch.no_grad():
        expected = load_pretrained("dcn-k8-hints").eval().sweep(images, ks=tuple(ALL_K))
    levels = (255 * images).round().byte().numpy().tobytes()
    found = page.evaluate(
        """async ([encoded, count, ks]) => {
            const { firstLook, refine } = await import(new URL("network.js", location.href));
            const levels = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
            const answers = [];
            for (let i = 0; i < count; i++) {
                const image = levels.subarray(1e4 * i, 1e4 * (i + 1));
                const look = await firstLook(Float32Array.from(image, (level) => level / 255));
                for (const k of ks) answers.push((await refine(look, k)).probabilities);
            }
            return answers;
        }""",
        [base64.b64encode(levels).decode(), COUNT, list(ALL_K)],
    )
    here = torch.tensor(found).reshape(COUNT, len(ALL_K), 10)
    theirs = torch.stack([expected[k].softmax(1) for k in ALL_K], dim=1)
    assert torch.equal(here.argmax(2), theirs.argmax(2))
    assert (here - theirs).abs().max() < 1e-4


def test_it_looks_until_it_is_sure(page):
    images, _ = load_cluttered("all", source="embedded")[[141]]
    dcn = load_pretrained("dcn-k8-hints").eval()
    used = []
    page.locator("#sure").check()
    for below in ("0.3", "0.1", "5"):
        look = dcn.adaptive(images, float(below))
        used.append(int(look.patches_used))
        page.locator("#below").fill(below)
        page.locator("#below").press("Enter")
        said = "sure" if look.doubt.item() < float(below) else "still in doubt"
        expect(page.locator("#notes")).to_have_text(f"{said}: {look.doubt.item():.3f} nats")
        expect(page.locator("#verdict")).to_contain_text(f"After {used[-1]} patch")
        cost = count_rounds(dcn, (1, 2, 4, 8, 16))[(0, 1, 2, 4, 8, 16).index(used[-1])]
        expect(page.locator("#cost")).to_contain_text(f"Cost: {cost / 1e6:.1f} million")
    assert len(set(used)) > 1
    page.locator("#k").fill("8")
    expect(page.locator("#sure")).not_to_be_checked()
    expect(page.locator("#notes")).to_have_text("")


@pytest.mark.parametrize("invert", [None, True, False])
def test_a_picture_is_prepared_as_predict_does(page, tmp_path, invert):
    random = np.random.default_rng(0)
    path = tmp_path / "picture.png"
    Image.fromarray(random.integers(0, 256, (150, 260, 3), dtype=np.uint8)).save(path)
    expected = ClutteredMNISTTask().preprocess(read_picture(path), invert=invert).image[0]
    found = page.evaluate(
        """async ([encoded, invert]) => {
            const { prepare, read } = await import(new URL("pictures.js", location.href));
            const content = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
            const file = new File([content], "picture.png", { type: "image/png" });
            return Array.from(prepare(await read(file), invert).pixels);
        }""",
        [base64.b64encode(path.read_bytes()).decode(), invert],
    )
    assert (torch.tensor(found).reshape(100, 100) - expected).abs().max() < 1e-5


def test_an_upload_is_answered_as_predict_answers(page):
    picture: Path = ROOT / "docs" / "six_or_zero.png"
    (expected,) = predict("dcn-k8-hints", picture, device="cpu")
    page.locator("#k").fill("8")
    page.locator("#file").set_input_files(picture)
    expect(page.locator("#verdict")).to_contain_text(
        f"After 8 patches: {expected.answer} ({100 * expected.probability:.1f} %)"
    )


def test_a_drawn_digit_goes_into_fresh_clutter(page):
    page.locator("summary").click()
    box = page.locator("#draw").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 170, steps=5)
    page.mouse.up()
    page.locator("#use").click()
    expect(page.locator("#notes")).to_have_text("fresh clutter")
    expect(page.locator("#again")).to_be_enabled()
    page.locator("#file").set_input_files({"name": "no.png", "mimeType": "image/png", "buffer": b"nothing"})
    expect(page.locator("#alert")).to_contain_text("no.png can't be read as a picture")


def test_its_clock_writes_a_record(tmp_path):
    command = [sys.executable, "clock.py", "--visits", "2", "--run-dir", str(tmp_path / "page")]
    subprocess.run(command, check=True, cwd=ROOT / "site")
    times = json.loads((tmp_path / "page" / "record.json").read_text())["times"]
    counts = {what: len(row["milliseconds"]) for what, row in times.items()}
    assert counts == {"first_answer": 2, "another_k": len(ALL_K), "another_image": 59}
    assert all(row["median"] <= row["most"] for row in times.values())


def test_what_is_missing_is_told(page, address, folder):
    other = page.context.browser.new_page()
    other.goto((folder / "index.html").as_uri())
    expect(other.locator("#alert")).to_contain_text("python -m http.server")
    other.add_init_script("delete window.WebAssembly")
    other.goto(address)
    expect(other.locator("#alert")).to_contain_text("WebAssembly, which this browser lacks")
    other.close()
