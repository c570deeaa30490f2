"""HTML from notebooks, whoever executed them, as HTML that runs nothing and loads nothing."""

from __future__ import annotations

import html
import re

import nh3

MATHML = (
    "math mrow mi mn mo mtext ms mspace msub msup msubsup mfrac msqrt mroot mover munder munderover mtable "
    "mtr mtd mstyle mpadded"
).split()
TAGS = (nh3.ALLOWED_TAGS | {*MATHML}) - {"map", "area"}
ATTRIBUTES = {
    "*": {"class", "id", "style", "title"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "td": {"colspan", "rowspan", "align"},
    "th": {"colspan", "rowspan", "align", "scope"},
    "ol": {"start"},
    "details": {"open"},
    "math": {"display"},
    "mi": {"mathvariant"},
    "mo": {"stretchy"},
    "mover": {"accent"},
    "mspace": {"width"},
    "mtd": {"columnalign"},
}
PROPERTIES = set(
    "color background-color text-align vertical-align font-weight font-style font-size font-family "
    "text-decoration white-space width height min-width max-width padding padding-left padding-right "
    "padding-top padding-bottom margin margin-left margin-right margin-top margin-bottom border border-left "
    "border-right border-top border-bottom border-color border-style border-width border-collapse opacity "
    "display max-height overflow overflow-x overflow-y line-height".split()
)
PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*")
STYLE_BLOCK = re.compile(r"(?is)<style\b[^>]*>(.*?)</style\s*>")
PLAIN_CSS = re.compile(r"[\w\s#.,:;{}()%>*+~='\"!\[\]-]*")  # no escapes, at-rules, comments or addresses
LOADS = re.compile(r"(?i)url|image|src|attr|content|position|expression|cursor")
WITHOUT_PICTURE = re.compile(r"<img((?:\s+[\w-]+=\"[^\"]*\")*)\s*/?>")


def harmless(page: str) -> str:
    """Foreign HTML with text, tables, equations and embedded pictures only: no scripts, frames or forms, and
    nothing that loads. A picture from elsewhere becomes its description; links stay, for people to follow.
    """
    styles = [css for css in STYLE_BLOCK.findall(page) if PLAIN_CSS.fullmatch(css) and not LOADS.search(css)]
    page = nh3.clean(
        page,
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=_attribute,
        filter_style_properties=PROPERTIES,
        url_schemes={"http", "https", "mailto", "data"},
    )
    page = WITHOUT_PICTURE.sub(_described, page)
    return "".join(f"<style>{css}</style>" for css in styles) + page


def _attribute(tag: str, name: str, value: str) -> str | None:
    if tag == "img" and name == "src":
        return value if PICTURE.fullmatch(value) else None
    if name == "href" and value.strip().lower().startswith(("data:", "//", "\\")):
        return None
    return value


def _described(tag: re.Match) -> str:
    if re.search(r'\ssrc="', tag[1]):
        return tag[0]
    alt = re.search(r'\salt="([^"]*)"', tag[1])
    return f"<em>{html.escape(html.unescape(alt[1]))}</em>" if alt else ""
