"""The explorer in a real browser: notebook 07 in JupyterLab and as a page of voilà, held to the library's own results.

Screenshots of every stage are kept in build/browser/.
"""

import re
import shutil
import socket
import statistics
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from io import BytesIO
from urllib.parse import urlsplit

import pytest
import torch
from PIL import Image

from dcnlib import entropy, load_cluttered, load_pretrained
from dcnlib.cli.main import main
from dcnlib.models.pretrained import load_trained
from dcnlib.utils.files import project_root

pytest.importorskip("playwright", reason="the browser tests need Playwright for Python")

from browser_servers import chromium, find_chromium, server
from odd_pictures import CLASSES, odd_folder
from playwright.sync_api import Browser, FilePayload, Page, Request, expect

if find_chromium() is None:
    pytest.skip("the browser tests need Chromium or Chrome on the PATH", allow_module_level=True)

ROOT = project_root()
NOTEBOOK = ROOT / "notebooks" / "07_explorer.ipynb"
SHOTS = ROOT / "build" / "browser"
MODEL, FIRST_IMAGE = "dcn-k8-hints", 141
RUN_MILLISECONDS = 180_000  # to execute the whole notebook, on a machine that has other work
EXPLORER = ".dcn-explorer"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    SHOTS.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Page]]:
    """A copy of notebook 07 in JupyterLab with all its cells run, and the page that `make app` serves."""
    folder, token = tmp_path_factory.mktemp("lab"), "only-for-this-test"
    shutil.copy(NOTEBOOK, folder)
    lab_options = ["--ip=127.0.0.1", f"--IdentityProvider.token={token}", "--allow-root"]
    with (
        server([sys.executable, "-m", "jupyterlab", *lab_options], folder) as lab_address,
        server([sys.executable, "-m", "dcnlib", "explore"], tmp_path_factory.mktemp("app"), cwd=ROOT) as app_address,
    ):
        lab, app = open_page(browser, lab_address), open_page(browser, app_address)
        app.goto(app_address, wait_until="commit", timeout=RUN_MILLISECONDS)  # the two kernels run side by side
        lab.goto(f"{lab_address}/lab/tree/{NOTEBOOK.name}?token={token}")
        expect(lab.get_by_text("| Idle")).to_be_visible(timeout=RUN_MILLISECONDS)
        lab.get_by_role("menuitem", name="Run", exact=True).click()
        lab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        for page in (lab, app):
            page.wait_for_selector(".dcn-finder", timeout=RUN_MILLISECONDS)
        yield lab, app


@pytest.fixture
def lab(pages: tuple[Page, Page]) -> Page:
    return pages[0]


@pytest.fixture
def app(pages: tuple[Page, Page]) -> Page:
    return pages[1]


def open_page(browser: Browser, address: str) -> Page:
    """A page that notes in `outside` what it asks of anywhere but its server, unless its own policy refuses it."""
    page = browser.new_page(viewport={"width": 1400, "height": 1200})
    page.outside = []

    def note(request: Request) -> None:
        own = request.url.startswith((address, "data:", "blob:"))
        if not own and request.failure != "csp":
            page.outside.append(request.url)

    page.on("requestfinished", note)
    page.on("requestfailed", note)
    return page


@pytest.fixture(scope="module")
def data():
    return load_cluttered("all", source="embedded")


@pytest.fixture(scope="module")
def dcn():
    return load_pretrained(MODEL)


class OnPage:
    """The explorer on a page: what a user does to it, and what it then shows."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.root = page.locator(EXPLORER)
        self.slider = self.root.get_by_role("slider")
        self.picture = self.root.get_by_role("application")
        self.alert = self.root.get_by_role("alert")

    def settle(self) -> None:
        """Wait until the last choice is answered and drawn."""
        two_frames = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        self.page.evaluate(two_frames)  # a choice is on the page from its next frame on
        expect(self.root).to_have_attribute("aria-busy", "false")
        self.page.evaluate(two_frames)

    def number(self, index: int, item: str = "Digit") -> None:
        field = self.root.get_by_label(f"{item} number")
        field.fill(str(index))
        field.press("Enter")
        self.settle()

    def begin(self, k: int = 8, index: int = FIRST_IMAGE) -> None:
        """The state that each test begins with."""
        self.root.get_by_label("Image source").select_option("validation")
        self.root.get_by_label("Policy").select_option("entropy-gradient")
        self.number(index)
        self.slider.fill(str(k))
        self.settle()
        expect(self.alert).to_be_empty()

    def click(self, row: float, column: float) -> None:
        """Click on a pixel of the image."""
        left, top, width, height = map(float, self.picture.get_attribute("viewBox").split())
        box = self.picture.bounding_box()
        x, y = (column - left) / width * box["width"], (row - top) / height * box["height"]
        self.picture.click(position={"x": x, "y": y})
        self.settle()

    def entropy(self, name: str) -> float:
        meter = self.root.locator(".dcn-meter").filter(has=self.page.get_by_text(name, exact=True))
        return float(meter.locator(".dcn-figure").text_content())

    def rectangles(self) -> list[list[float]]:
        """Top, left, bottom, right of each patch in pixels of the image, the most salient first."""
        read = (
            """(rects) => rects.map((r) => ["y", "x", "height", "width"].map((name) => Number(r.getAttribute(name))))"""
        )
        drawn = self.root.locator(".dcn-patch rect").evaluate_all(read)
        return [[y, x, y + height, x + width] for y, x, height, width in reversed(drawn)]

    def check(self, dcn, image: torch.Tensor, refined: str = "refined", **options) -> None:
        """What stands on the page is what the library says of the image."""
        self.settle()
        look = dcn.attend(image[None], **options)
        boxes = dcn.geometry.boxes(look.cells[0], look.coarse_map.shape[3])
        assert self.rectangles() == boxes.tolist()
        expect(self.root.locator(".dcn-before")).to_have_text(str(int(look.coarse_logits.argmax())))
        expect(self.root.locator(".dcn-after")).to_have_text(str(int(look.logits.argmax())))
        assert self.entropy("coarse") == pytest.approx(look.entropy.item(), abs=2e-3)
        assert self.entropy(refined) == pytest.approx(entropy(look.logits).item(), abs=2e-3)

    def shoot(self, name: str) -> None:
        self.root.screenshot(path=SHOTS / f"{name}.png")


def test_jupyterlab_runs_all_cells_without_an_error(lab, data, dcn):
    explorer = OnPage(lab)
    explorer.check(dcn, data[FIRST_IMAGE][0], k=8)
    assert lab.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert lab.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    explorer.shoot("lab-explorer")
    lab.locator(".dcn-sweep").screenshot(path=SHOTS / "lab-sweep.png")
    lab.locator(".dcn-finder").screenshot(path=SHOTS / "lab-find-me.png")


def test_k_moves_by_keyboard_and_by_pointer(lab, data, dcn):
    explorer = OnPage(lab)
    explorer.begin()
    explorer.slider.press("ArrowRight")
    explorer.slider.press("ArrowRight")
    explorer.check(dcn, data[FIRST_IMAGE][0], k=10)
    explorer.slider.press("Home")
    explorer.check(dcn, data[FIRST_IMAGE][0], k=0)
    explorer.slider.press("End")
    explorer.check(dcn, data[FIRST_IMAGE][0], k=32)
    explorer.shoot("lab-k-32")

    drag(explorer, from_share=1, to_share=0.5)
    explorer.check(dcn, data[FIRST_IMAGE][0], k=16)


def test_it_looks_until_it_is_sure_and_a_k_of_ones_own_ends_that(lab, data, dcn):
    explorer = OnPage(lab)
    explorer.begin(k=3)
    image = data[FIRST_IMAGE][0]
    switch, nats = explorer.root.get_by_label("Look until sure"), explorer.root.get_by_label("Sure below, in nats")
    switch.check()
    for below in (0.3, 0.1, 5):
        nats.fill(str(below))
        nats.press("Enter")
        explorer.settle()
        look = dcn.adaptive(image[None], below)
        explorer.check(dcn, image, k=int(look.patches_used))
        said = "sure" if look.doubt.item() < below else "still in doubt"
        expect(explorer.root.locator(".dcn-sure")).to_have_text(f"{said}: {look.doubt.item():.3f} nats")
        explorer.shoot(f"lab-until-sure-{below}")
    nats.fill("-1")
    nats.press("Enter")
    expect(explorer.alert).to_contain_text("must be 0 or more")
    explorer.slider.press("ArrowRight")
    explorer.check(dcn, image, k=1)
    expect(switch).not_to_be_checked()
    expect(explorer.root.locator(".dcn-sure")).to_have_count(0)


def drag(explorer: OnPage, from_share: float, to_share: float) -> None:
    """Drag the slider's handle between two places, given as shares of its length."""
    explorer.slider.scroll_into_view_if_needed()
    box = explorer.slider.bounding_box()
    handle = 16  # pixels, as Chromium draws it
    middle = box["y"] + box["height"] / 2
    start, end = (box["x"] + handle / 2 + share * (box["width"] - handle) for share in (from_share, to_share))
    mouse = explorer.page.mouse
    mouse.move(start, middle)
    mouse.down()
    mouse.move(end, middle, steps=5)
    mouse.up()
    explorer.settle()


def test_play_goes_on_until_it_is_paused_and_disturbs_no_typing(lab):
    explorer = OnPage(lab)
    explorer.begin(k=3)
    explorer.root.get_by_role("button", name="Play").click()
    field = explorer.root.get_by_label("Digit number")
    field.fill("77")
    expect(explorer.root).not_to_have_attribute("data-k", "3")
    expect(field).to_have_value("77")
    explorer.root.get_by_role("button", name="Pause").click()
    explorer.settle()
    expect(explorer.root.locator(".dcn-title")).to_contain_text("validation image 77,")
    shown = explorer.root.get_attribute("data-k")
    assert 3 < int(shown) < 32
    lab.wait_for_timeout(1000)
    assert explorer.root.get_attribute("data-k") == shown


def test_patches_are_chosen_by_click_and_by_keyboard(lab, data, dcn):
    explorer = OnPage(lab)
    explorer.begin(k=4)
    image, truth = data[FIRST_IMAGE]
    cells = dcn.attend(image[None], k=4).cells
    added = 5 * 23 + 7
    assert added not in cells
    top, left, bottom, right = dcn.geometry.boxes(torch.tensor(added), 23).tolist()

    explorer.click((top + bottom) / 2 + 1, (left + right) / 2 - 1)  # the nearest centre counts
    chosen = torch.cat([cells, torch.tensor([[added]])], dim=1)
    explorer.check(dcn, image, refined="yours", cells=chosen)
    explorer.shoot("lab-by-hand")

    explorer.picture.press("ArrowRight")
    explorer.picture.press("Enter")
    explorer.check(dcn, image, refined="yours", cells=torch.cat([chosen, torch.tensor([[added + 1]])], dim=1))

    explorer.root.get_by_role("button", name="Patch 5 of 6").press("Enter")
    left_over = torch.cat([cells, torch.tensor([[added + 1]])], dim=1)
    explorer.check(dcn, image, refined="yours", cells=left_over)

    table = explorer.root.get_by_role("table", name="Over 1 image")
    mine, gradients = dcn.attend(image[None], cells=left_over), dcn.attend(image[None], k=5)
    share = [f"{100 * look.logits.softmax(1)[0, truth].item():.1f}" for look in (mine, gradients)]
    figures = table.get_by_role("row", name="probability of the truth").get_by_role("cell").all_inner_texts()
    assert [float(text.removesuffix(" %")) for text in figures] == pytest.approx([float(s) for s in share], abs=0.2)

    explorer.root.get_by_role("button", name="Back to the policy").click()
    explorer.check(dcn, image, k=4)


def test_twenty_quick_changes_end_in_the_last_one(lab, data, dcn):
    explorer = OnPage(lab)
    explorer.begin(k=2)
    following = explorer.root.get_by_role("button", name="Next digit")
    following.evaluate("(button) => { for (let n = 0; n < 20; n++) button.click(); }")
    explorer.slider.focus()
    for _ in range(20):
        lab.keyboard.press("ArrowRight")
    explorer.check(dcn, data[FIRST_IMAGE + 20][0], k=22)
    expect(explorer.root.locator(".dcn-title")).to_contain_text(f"validation image {FIRST_IMAGE + 20},")
    assert lab.locator(EXPLORER).count() == 1  # nothing piles up


def test_an_uploaded_image_is_looked_at(lab, data, dcn):
    """Dark on light it is inverted, which is told; the switch beside it shows it as it is, by keyboard too."""
    explorer = OnPage(lab)
    explorer.begin()
    switch = explorer.root.get_by_label("Light and dark")
    expect(switch).to_be_hidden()
    file = BytesIO()
    Image.fromarray(255 - data.render([3])[0]).save(file, "PNG")
    explorer.root.get_by_label("Upload an image").set_input_files(picture("mine.png", file.getvalue()))
    expect(explorer.root.locator(".dcn-title")).to_have_text("your image mine.png")
    expect(explorer.root.locator(".dcn-notes")).to_have_text("inverted as it shows dark on light")
    explorer.check(dcn, data[3][0], k=8)
    explorer.shoot("lab-upload")

    switch.focus()
    switch.press("ArrowDown")
    expect(explorer.root.locator(".dcn-notes")).not_to_contain_text("inverted")
    explorer.check(dcn, 1 - data[3][0], k=8)
    explorer.shoot("lab-upload-as-it-is")
    switch.press("ArrowDown")
    expect(explorer.root.locator(".dcn-notes")).to_have_text("inverted as asked")
    explorer.check(dcn, data[3][0], k=8)


def picture(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": content}


def test_what_cannot_be_done_is_told_until_the_next_choice(lab, data, dcn):
    explorer = OnPage(lab)
    explorer.begin()
    upload = explorer.root.get_by_label("Upload an image")
    upload.set_input_files(picture("notes.png", b"no picture at all"))
    expect(explorer.alert).to_have_text(re.compile("notes.png can't be read as a picture: it is none of PNG, JPEG"))
    explorer.shoot("lab-error")
    upload.set_input_files(picture("huge.png", bytes(5_000_001)))
    expect(explorer.alert).to_have_text("huge.png has 5.0 MB, but at most 5 MB can be read")
    explorer.check(dcn, data[FIRST_IMAGE][0], k=8)

    explorer.number(99_999)
    expect(explorer.alert).to_have_text("there is no image 99999: the numbers are 0..4999")
    explorer.begin()


def test_every_k_stands_beside_the_others(lab, data, dcn):
    explorer = OnPage(lab)
    explorer.begin()
    tiles = lab.locator(".dcn-sweep button")
    expect(tiles).to_have_count(33)
    for k, caption in enumerate(tiles.locator("b").all_inner_texts()):
        assert int(caption[0]) == int(dcn(data[FIRST_IMAGE][0][None], k=k).argmax())
    tiles.nth(3).click()
    explorer.check(dcn, data[FIRST_IMAGE][0], k=3)
    assert tiles.evaluate_all("(all) => all.map((one) => one.ariaPressed)").index("true") == 3


def test_a_found_image_is_loaded(lab, data, dcn):
    explorer = OnPage(lab)
    explorer.begin(k=1, index=5)
    found = lab.locator(".dcn-finder button").first
    index = int(found.get_attribute("data-index"))
    found.click()
    explorer.check(dcn, data[index][0], k=8)
    expect(explorer.root.locator(".dcn-mark")).to_have_text("✓ right")
    assert int(dcn(data[index][0][None], k=0).argmax()) != data[index][1]


def test_everything_to_operate_has_a_name(lab):
    nameless = """(parts) => parts.filter((part) =>
        !(part.ariaLabel || part.labels?.[0]?.textContent || part.textContent).trim()).map((part) => part.outerHTML)"""
    controls = lab.locator(".dcn :is(button, input, select, [tabindex])")
    assert controls.count() > 60
    assert controls.evaluate_all(nameless) == []


MEASURE = """(slider) => {
    const root = slider.closest(".dcn");
    window.latencies = [];
    slider.addEventListener("change", () => {
        const released = performance.now();
        const drawn = () => Number(root.dataset.k) === Number(slider.value);
        const whenDrawn = () => requestAnimationFrame(() =>
            drawn() ? window.latencies.push(performance.now() - released) : whenDrawn());
        whenDrawn();
    });
}"""
MEASURE_NEXT = """async (button) => {
    const root = button.closest(".dcn");
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    const [clicked, request] = [performance.now(), root.dataset.request];
    button.click();
    while (root.dataset.request === request) await frame();
    await frame();
    return performance.now() - clicked;
}"""


def test_pictures_come_at_once(lab, capsys):
    """Medians, in the browser, from the release of the slider (and from a click for another image) to the picture."""
    explorer = OnPage(lab)
    explorer.begin()
    explorer.slider.evaluate(MEASURE)
    for n in range(10):
        drag(explorer, *((0.25, 0.8) if n % 2 == 0 else (0.8, 0.25)))
    slider = lab.evaluate("window.latencies")
    following = explorer.root.get_by_role("button", name="Next digit")
    image = [following.evaluate(MEASURE_NEXT) for _ in range(10)]
    with capsys.disabled():
        print(f"\nmedian latency: slider {statistics.median(slider):.0f} ms, image {statistics.median(image):.0f} ms")
    assert len(slider) == 10
    assert statistics.median(slider) < 1000  # the goal is 200; machines that test have other work
    assert statistics.median(image) < 2000


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
def test_the_app_refuses_who_calls_it_by_a_foreign_name(app, host):
    """As a page elsewhere does whose name is made to lead here."""
    address = urlsplit(app.url)
    for path in ("/", "/api/kernels"):
        server = HTTPConnection(address.hostname, address.port, timeout=60)
        server.request("GET", path, headers={"Host": host})
        assert server.getresponse().status == 403, path


def test_the_app_begins_with_a_game_that_hides_truth_and_gradient(app, data):
    explorer = OnPage(app)
    explorer.settle()
    _, truth = data[FIRST_IMAGE]
    title, compare = explorer.root.locator(".dcn-title"), explorer.root.get_by_role("button", name="Compare")
    for _ in range(2):
        expect(title).to_have_text(f"validation image {FIRST_IMAGE}")
        expect(compare).to_be_disabled()
        for hidden in (".dcn-secret", ".dcn-truth", ".dcn-mark:not(:empty)", "table", ".dcn-reference"):
            expect(explorer.root.locator(hidden).locator("visible=true")).to_have_count(0)
        expect(app.locator(".dcn-sweep button").first).to_be_hidden()
        explorer.click(67, 62)
        expect(title).to_have_text(f"validation image {FIRST_IMAGE}")
        explorer.shoot("app-game")
        compare.click()
        expect(title).to_have_text(f"validation image {FIRST_IMAGE}, showing a {truth}")
        expect(explorer.root.locator(".dcn-status")).to_contain_text(f"Probability of the {truth}")
        expect(explorer.root.get_by_role("table")).to_be_visible()
        explorer.root.get_by_role("button", name="Hide the answers").click()
        explorer.settle()
    explorer.root.get_by_role("button", name="Next digit").click()
    explorer.settle()
    expect(title).to_have_text(f"validation image {FIRST_IMAGE + 1}")
    explorer.root.get_by_role("button", name="Previous digit").click()
    explorer.root.get_by_role("button", name="Back to the policy").click()
    explorer.settle()


def test_the_glimpses_of_a_rival_are_shown_up_to_any(app, data):
    explorer = OnPage(app)
    if (back := explorer.root.get_by_role("button", name="Back to the policy")).is_enabled():
        back.click()
    explorer.settle()
    rivals = app.locator(".dcn-rivals")
    for name in ("RAM", "DRAW"):
        rivals.get_by_label("Model").select_option(name)
        look = load_pretrained(name.lower()).attend(data[FIRST_IMAGE][0][None])
        expect(rivals.locator(".dcn-patch")).to_have_count(look.boxes.shape[1])
        expect(rivals.get_by_role("status")).to_contain_text(
            f"{name} says {int(look.logits.argmax())} after 8 glimpses"
        )
        rivals.get_by_role("slider").fill("3")
        expect(rivals.locator(".dcn-patch")).to_have_count(3)
        rivals.get_by_role("slider").fill("8")
    rivals.screenshot(path=SHOTS / "app-rivals.png")


def test_the_app_follows_the_system_and_k_stays_in_sight_on_a_telephone(browser, app):
    page = browser.new_page(viewport={"width": 400, "height": 800}, color_scheme="dark")
    page.goto(app.url, wait_until="commit", timeout=RUN_MILLISECONDS)
    page.wait_for_selector(".dcn-finder", timeout=RUN_MILLISECONDS)
    explorer = OnPage(page)
    explorer.root.get_by_role("button", name="Back to the policy").click()
    explorer.settle()
    explorer.root.locator(".dcn-strip").scroll_into_view_if_needed()
    explorer.root.locator(".dcn-bars").scroll_into_view_if_needed()
    place = explorer.slider.bounding_box()
    page.screenshot(path=SHOTS / "app-telephone.png")
    assert 0 <= place["y"] < 40
    ground = explorer.root.evaluate("(root) => getComputedStyle(root).backgroundColor")
    assert max(map(int, re.findall(r"\d+", ground)[:3])) < 80, ground
    page.close()


def test_the_app_shows_the_same_explorer_without_code(app, data, dcn):
    explorer = OnPage(app)
    explorer.check(dcn, data[FIRST_IMAGE][0], k=8)
    assert app.locator(".jp-CodeCell .jp-InputArea").count() == 0
    app.screenshot(path=SHOTS / "app-page.png", full_page=True)
    explorer.slider.press("ArrowRight")
    explorer.check(dcn, data[FIRST_IMAGE][0], k=9)
    drag(explorer, from_share=9 / 32, to_share=0.5)
    explorer.check(dcn, data[FIRST_IMAGE][0], k=16)
    explorer.root.get_by_role("button", name="Next digit").click()
    explorer.check(dcn, data[FIRST_IMAGE + 1][0], k=16)
    explorer.number(99_999)
    expect(explorer.alert).to_have_text("there is no image 99999: the numbers are 0..4999")
    explorer.begin()
    app.locator(".dcn-sweep button").nth(2).click()
    explorer.check(dcn, data[FIRST_IMAGE][0], k=2)
    explorer.shoot("app-explorer")


def test_the_app_shows_a_run_on_pictures_of_ones_own(browser, tmp_path):
    run = tmp_path / "run"
    command = ["train", "--data", str(odd_folder(tmp_path / "pictures")), "--epochs", "1", "--k", "2"]
    assert main([*command, "--device", "cpu", "--run-dir", str(run)]) == 0
    trained = load_trained(run)
    pictures = trained.load_data()
    with server([sys.executable, "-m", "dcnlib", "explore", str(run)], tmp_path, cwd=ROOT) as address:
        page = open_page(browser, address)
        page.goto(address, wait_until="commit", timeout=RUN_MILLISECONDS)
        page.wait_for_selector(EXPLORER, timeout=RUN_MILLISECONDS)
        explorer = OnPage(page)
        explorer.root.get_by_role("button", name="Back to the policy").click()  # it begins with a game
        explorer.settle()
        for index in (0, 4):
            explorer.number(index, "Picture")
            for k in (0, 2, 5):
                explorer.slider.fill(str(k))
                explorer.settle()
                look = trained.model.attend(pictures[index][0][None], k=k)
                assert explorer.rectangles() == look.boxes[0].tolist()
                expect(explorer.root.locator(".dcn-before")).to_have_text(CLASSES[int(look.coarse_logits.argmax())])
                expect(explorer.root.locator(".dcn-after")).to_have_text(CLASSES[int(look.logits.argmax())])
                assert explorer.entropy("refined") == pytest.approx(entropy(look.logits).item(), abs=2e-3)
        explorer.number(99, "Picture")
        expect(explorer.alert).to_have_text(f"there is no image 99: the numbers are 0..{len(pictures) - 1}")
        page.screenshot(path=SHOTS / "app-own-pictures.png", full_page=True)
        assert page.outside == []


def test_the_app_serves_nothing_else(app):
    for path in ("api/contents", "api/kernels", "voila/files/README.md", "voila/files/pyproject.toml", "lab", "tree"):
        assert app.request.get(f"{app.url}{path}").status in (403, 404), path
    with socket.socket() as other:  # on another address of this machine
        other.settimeout(5)
        assert other.connect_ex(("127.0.0.2", urlsplit(app.url).port)) != 0


def test_nothing_comes_from_another_server(lab, app):
    assert (lab.outside, app.outside) == ([], [])
