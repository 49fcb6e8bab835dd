"""The sliders of notebooks 3, 4, 6 and 11 in JupyterLab, in a real browser: move one, and its picture changes.

Screenshots are kept in build/browser/.
"""

import shutil
import sys

import nbformat
import pytest

from dcnlib.utils.files import project_root

pytest.importorskip("playwright", reason="the browser tests need Playwright for Python")

from browser_servers import chromium, find_chromium, server
from playwright.sync_api import expect

if find_chromium() is None:
    pytest.skip("the browser tests need Chromium or Chrome on the PATH", allow_module_level=True)

ROOT = project_root()
SHOTS = ROOT / "build" / "browser"
RUN_MILLISECONDS = 300_000  # to execute a whole notebook in the smoke profile, on a machine that has other work


def smoke_copy(path, folder):
    """The notebook as the smoke profile runs it, without outputs."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = cell.source.replace('PROFILE = "fast"', 'PROFILE = "smoke"')
    nbformat.write(notebook, folder / path.name)
    shutil.copy(path.parent / "blanks.py", folder)


@pytest.mark.parametrize("number", ["03", "04", "06", "11"])
def test_a_slider_of_a_notebook_moves_its_picture(number, tmp_path):
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    smoke_copy(path, tmp_path)
    SHOTS.mkdir(parents=True, exist_ok=True)
    options = ["--ip=127.0.0.1", "--IdentityProvider.token=only-for-this-test", "--allow-root"]
    with server([sys.executable, "-m", "jupyterlab", *options], tmp_path) as address, chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{address}/lab/tree/{path.name}?token=only-for-this-test")
        expect(page.get_by_text("| Idle")).to_be_visible(timeout=RUN_MILLISECONDS)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        widget = page.locator(".dcnlib-sliders").first
        widget.wait_for(state="attached", timeout=RUN_MILLISECONDS)
        expect(page.get_by_text("| Idle")).to_be_visible(timeout=RUN_MILLISECONDS)
        widget.scroll_into_view_if_needed()
        picture = widget.locator("img").first
        expect(picture).to_be_visible(timeout=RUN_MILLISECONDS)
        before = picture.get_attribute("src")

        handle = widget.locator(".noUi-handle").first
        read = widget.locator(".widget-readout").first
        told = read.text_content()
        handle.press("ArrowLeft")
        expect(read).not_to_have_text(told)
        expect(picture).not_to_have_attribute("src", before, timeout=RUN_MILLISECONDS)
        page.screenshot(path=SHOTS / f"slider_{number}.png")
