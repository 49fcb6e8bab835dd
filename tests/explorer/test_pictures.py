"""The page that `make app` serves, with other pictures than digits, in a real browser: what it says is the library's.

A screenshot is kept in build/browser/.
"""

import sys

import pytest
import torch
from PIL import Image

from dcnlib import predict
from dcnlib.data.house_numbers.numbers import number_text
from dcnlib.models.pretrained import load_trained
from dcnlib.utils.files import project_root

pytest.importorskip("playwright", reason="the browser tests need Playwright for Python")

from browser_servers import chromium, find_chromium, server
from playwright.sync_api import expect

if find_chromium() is None:
    pytest.skip("the browser tests need Chromium or Chrome on the PATH", allow_module_level=True)

ROOT = project_root()
WAIT_MILLISECONDS = 180_000


@torch.no_grad()
def test_house_numbers_can_be_chosen_on_the_page(tmp_path):
    trained = load_trained("rendered-numbers-dcn-k8")
    image, label = trained.load_data()[142]
    look = trained.model.attend(image[None], k=8)
    first, after = (trained.task.answer(logits[0]) for logits in (look.coarse_logits, look.logits))

    with (
        server([sys.executable, "-m", "dcnlib", "explore"], tmp_path, cwd=ROOT) as address,
        chromium() as browser,
    ):
        page = browser.new_page(viewport={"width": 1400, "height": 1300})
        page.goto(address, wait_until="commit", timeout=WAIT_MILLISECONDS)
        page.wait_for_selector(".dcn-rivals", timeout=WAIT_MILLISECONDS)
        page.get_by_label("Pictures").select_option(label="rendered house numbers")
        expect(page.locator(".dcn-rivals")).to_have_count(0, timeout=WAIT_MILLISECONDS)
        page.get_by_role("button", name="Back to the policy").click()
        page.get_by_role("button", name="Next picture").click()
        verdict = page.locator(".dcn-verdict")
        known = f"validation image 142, showing a {number_text(label.tolist())}"
        expect(verdict).to_contain_text(known, timeout=WAIT_MILLISECONDS)
        expect(verdict.locator(".dcn-before")).to_have_text(first)
        expect(verdict.locator(".dcn-after")).to_have_text(after)
        expect(page.locator(".dcn-bars .dcn-fill-after")).to_have_count(5 * 11)
        expect(page.locator(".dcn-alert")).to_be_empty()
        (ROOT / "build" / "browser").mkdir(parents=True, exist_ok=True)
        page.screenshot(path=ROOT / "build" / "browser" / "house_numbers.png")

        path = tmp_path / "mine.png"
        Image.fromarray(trained.load_data().numbers.images[7]).save(path)
        (expected,) = predict("rendered-numbers-dcn-k8", path, device="cpu")
        page.get_by_label("Upload an image").set_input_files(path)
        expect(verdict).to_contain_text("your image mine.png", timeout=WAIT_MILLISECONDS)
        expect(verdict.locator(".dcn-before")).to_have_text(expected.first_answer)
        expect(verdict.locator(".dcn-after")).to_have_text(expected.answer)
        expect(page.locator(".dcn-alert")).to_be_empty()
