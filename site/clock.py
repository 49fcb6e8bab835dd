"""How long the explorer without Python keeps one waiting, in a headless Chromium of this machine.

Times are taken in the page, from its own start or from the event of an input, to the frame after the answer is shown.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from explorer_files import IMAGES, MOST_K, write_explorer
from playwright.sync_api import Browser, sync_playwright

from dcnlib.training.run import Run
from dcnlib.utils.records import environment

# The page counts its answers in data-answered. What is drawn is seen with the frame after the next.
ANSWERED = """
window.answeredAfter = (count) => new Promise((resolve) => {
  const root = document.documentElement;
  const look = () => Number(root.dataset.answered ?? 0) > count &&
    (watch.disconnect(), requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now()))));
  const watch = new MutationObserver(look);
  watch.observe(root, { attributes: true });
  look();
});
"""
CHANGE = """async ([id, value]) => {
  const [input, begun] = [document.getElementById(id), performance.now()];
  const answered = answeredAfter(Number(document.documentElement.dataset.answered));
  input.value = value;
  input.dispatchEvent(new Event(id === "k" ? "input" : "change"));
  return (await answered) - begun;
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing: the server's log isn't what is asked for."""


@contextmanager
def served() -> Iterator[str]:
    """The address of the page, built anew."""
    with tempfile.TemporaryDirectory() as folder:
        write_explorer(Path(folder) / "explorer")
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/explorer/"
        server.shutdown()


def measure(browser: Browser, address: str, visits: int) -> dict[str, list[float]]:
    """Milliseconds to the first answer of each visit with an empty cache, and to each later answer of the last one."""
    firsts = []
    for visit in range(visits):
        page = browser.new_context().new_page()
        page.add_init_script(ANSWERED)
        page.goto(address, wait_until="commit")
        firsts.append(page.evaluate("() => answeredAfter(0)"))
        page.locator("#fine", has_text="fine model").wait_for()  # it has the processor until then
        if visit < visits - 1:
            page.context.close()
    by_k = [page.evaluate(CHANGE, ["k", str(k)]) for k in range(MOST_K + 1)]
    by_image = []
    for image in range(1, len(IMAGES)):
        by_image.append(page.evaluate(CHANGE, ["image", str(image)]))
        page.wait_for_timeout(100)  # as above: the fine model answers once an image
    return {"first_answer": firsts, "another_k": by_k, "another_image": by_image}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visits", type=int, default=10)
    parser.add_argument("--run-dir", type=Path, default=Path("runs") / "page", help="keeps record.json")
    args = parser.parse_args()
    path = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if path is None:
        parser.error("needs Chromium or Chrome on the PATH")
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        times = measure(browser, address, args.visits)
        version = browser.version
        browser.close()
    rows = {
        what: {
            "milliseconds": [round(time, 1) for time in each],
            "median": round(statistics.median(each), 1),
            "most": round(max(each), 1),
        }
        for what, each in times.items()
    }
    record = {"name": "page", "chromium": version, "times": rows, **environment("cpu")}
    Run(args.run_dir).save_record(record)
    for what, row in rows.items():
        print(f"{what}: median {row['median']} ms, most {row['most']} ms of {len(row['milliseconds'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
