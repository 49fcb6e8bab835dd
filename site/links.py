"""Whether every link of a built site leads somewhere, without a network: to a page, an anchor or a file of the site."""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loaded: list[str] = []  # what the browser fetches by itself
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value for name, value in attrs if value}
        self.anchors |= {told[name] for name in ("id", "name") if name in told}
        link = told.get("href") or told.get("src")
        if link is None:
            return
        self.links.append(link)
        if tag in ("script", "img", "source", "iframe") or (tag == "link" and told.get("rel") != "canonical"):
            self.loaded.append(link)


def faults(site: Path) -> Iterator[str]:
    """A sentence for each dead link, and for each thing that a page would fetch from another host."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        where = path.relative_to(site)
        yield from (f"{where} loads {link}" for link in page.loaded if urlsplit(link).netloc)
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target = target / "index.html"
            if not target.is_file() or not target.is_relative_to(site.resolve()):
                yield f"{where} links to {link}, which isn't there"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{where} links to {link}: {target.name} has no such place"


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1]).resolve()))
    print("\n".join(found) or "every link of the site leads somewhere, and nothing comes from another host")
    sys.exit(bool(found))
