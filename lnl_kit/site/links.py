"""Whether every link of a site leads somewhere, and whether a page asks for anything outside its folder."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
FETCHED = {"stylesheet", "icon", "preload", "preconnect", "prefetch", "dns-prefetch", "modulepreload"}
FROM_CSS = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)")


class Page(HTMLParser):
    """The ids of a page, where its links lead, and what it loads."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes an element's id and address."""
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and FETCHED & set(given.get("rel", "").split()):
            self.loads.append(given.get("href", ""))
        if LOADED.get(tag) in given:
            self.loads.append(given[LOADED[tag]])
        if tag in ("img", "source") and "srcset" in given:
            self.loads += [part.split()[0] for part in given["srcset"].split(",") if part.split()]


def check(folder: Path) -> list[str]:
    """What is wrong with the links of a folder's pages, a sentence each; nothing where all is well.

    Links to other sites are left to people; nothing may be loaded from there.
    """
    pages = {p.resolve(): Page(p.read_text("utf-8")) for p in sorted(folder.rglob("*.html"))}
    found = [] if pages else [f"{folder} has no page"]
    for path, page in pages.items():
        name = path.relative_to(folder.resolve()).as_posix()
        for address in dict.fromkeys(page.loads):
            if urlsplit(address).scheme in ("http", "https") or address.startswith("//"):
                found.append(f"{name} loads {address}")
            else:
                found += _missing(name, path, address, pages, folder)
        for address in dict.fromkeys(page.links):
            found += _missing(name, path, address, pages, folder)
    for style in sorted(folder.rglob("*.css")):
        outside = FROM_CSS.findall(style.read_text("utf-8"))
        found += [f"{style.relative_to(folder).as_posix()} loads {address}" for address in outside]
    return found


def _missing(name: str, path: Path, address: str, pages: dict[Path, Page], folder: Path) -> list[str]:
    """Why an address within the folder leads nowhere, or nothing."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or not address:
        return []
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_relative_to(folder.resolve()):
        return [f"{name} links to {address}, outside the site"]
    if target.is_dir():
        return [f"{name} links to {address}, a folder, which a browser without a server lists"]
    if not target.exists():
        return [f"{name} links to {address}, which is not there"]
    fragment = unquote(parts.fragment)
    if fragment and target in pages and fragment not in pages[target].ids:
        return [f"{name} links to {address}, where nothing has that id"]
    return []
