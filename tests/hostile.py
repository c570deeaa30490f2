"""Strings that try to run a script or to reach a server wherever a page shows them, and what sees it."""

import contextlib
import http.server
import threading

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lnl_kit.figures.page import document
from lnl_kit.figures.web import PLOTLY


def strings(server: str) -> list[str]:
    """server: "127.0.0.1:1234". A script that runs sets window.hurt; anything fetched reaches the server."""
    hurt, url = "window.hurt=1", f"http://{server}/x"
    bare = server + "/x"
    events = "onerror onload onclick onmouseover onfocus onbegin ontoggle onstart onpageshow".split()
    tags = "img svg body video audio input details marquee iframe object embed math style link".split()
    made = [f"<{tag} src=q {event}={hurt} autofocus open>" for tag in tags[:5] for event in events[:6]]
    made += [f"<{tag} {event}='{hurt}'>x</{tag}>" for tag in tags[5:] for event in events[6:9]]
    return [
        *made,
        f"<script>{hurt}</script>",
        f"</script><script>{hurt}</script>",
        f"</title><script>{hurt}</script>",
        f"</style><script>{hurt}</script>",
        f"--><script>{hurt}</script>",
        f"]]><script>{hurt}</script>",
        f"'><script>{hurt}</script>",
        f'"><script>{hurt}</script>',
        f"<scr<script>ipt>{hurt}</scr</script>ipt>",
        f"<script src={url}></script>",
        f"<script src=//{bare}></script>",
        f"<img src={url}>",
        f"<img src='http:\\\\{bare}'>",
        f"<img srcset='{url} 2x'>",
        f"<img src=//{bare}>",
        f"<input type=image src={url}>",
        f"<svg><image href={url} /></svg>",
        f"<svg><use href={url}#a /></svg>",
        f"<svg><script>{hurt}</script></svg>",
        f"<svg><style>@import '{url}'</style></svg>",
        f"<table background={url}><tr><td background={url}>x</table>",
        f"<iframe src={url}>",
        "<iframe srcdoc='<script>parent.hurt=1</script>'>",
        f"<object data={url}></object>",
        f"<embed src={url}>",
        f"<link rel=stylesheet href={url}>",
        f"<link rel=preload as=image href={url}>",
        f"<base href=http://{server}/>",
        f"<meta http-equiv=refresh content='0;url={url}'>",
        f"<style>body{{background:url({url})}}</style>",
        f"<style>@import url({url});</style>",
        f"<style>@im\\port '{url}';</style>",
        f"<style>@font-face{{font-family:x;src:url({url})}}body{{font-family:x}}</style>",
        f"<style>p{{background:image-set('{url}' 1x)}}</style>",
        f"<p style='background:url({url})'>x</p>",
        f"<p style='background-image:u\\72l({url})'>x</p>",
        f"<p style='list-style:url({url})'>x</p>",
        f"<video poster={url}></video>",
        f"<audio src={url} autoplay></audio>",
        f"<a href='javascript:{hurt}' id=clickme>x</a>",
        f"<a href='&#106;avascript:{hurt}'>x</a>",
        f"<a href='data:text/html,<script>{hurt}</script>'>x</a>",
        f"<form action={url}><input name=a></form>",
        f"<math><mtext><img src=q onerror={hurt}></mtext></math>",
        f"<math><a xlink:href='javascript:{hurt}'>x</a></math>",
        f"<svg><a xlink:href='javascript:{hurt}'><text>x</text></a></svg>",
        f"<svg><animate onbegin={hurt} attributeName=x dur=1s>",
        f"<noscript><p title='</noscript><img src=q onerror={hurt}>'>",
        f"<template><img src=q onerror={hurt}></template>",
        f"<textarea></textarea><img src=q onerror={hurt}>",
        f"[x](javascript:{hurt})",
        f"![x]({url})",
        "<img name=querySelectorAll><img id=Plotly><form name=querySelector>",
        f"$\\text{{<img src=q onerror={hurt}>}}$",
        f"\u2028<img src=q onerror={hurt}>\u2029",
        f"%{{y}}<extra></extra><img src=q onerror={hurt}>",
        f"{{{{constructor.constructor('{hurt}')()}}}}",
        f"`<img src=q onerror={hurt}>`",
    ]


@contextlib.contextmanager
def serving():
    """A server that would see what a page fetches: (its address, what was asked of it)."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"window.hurt=1")

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{running.server_port}", asked
    finally:
        running.shutdown()


def open_all(browser, asked, paths, wait=None):
    """Open the pages, wait for what a selector names, move and click about, and see that nothing ran and
    nothing was fetched.
    """
    for path in paths:
        page = browser.new_page()
        loaded = []
        page.on("request", lambda r, loaded=loaded: loaded.append(r.url))
        page.goto(path.as_uri())
        if wait:
            page.wait_for_selector(wait, state="attached")
        page.wait_for_timeout(300)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        for link in page.locator("a[href^='javascript'], a[href^='data']").all():
            raise AssertionError(f"{path}: {link.get_attribute('href')}")
        page.mouse.move(200, 200)
        page.mouse.click(5, 5)
        page.wait_for_timeout(200)
        assert page.evaluate("window.hurt === undefined"), path
        assert page.url == path.as_uri()
        away = [u for u in loaded if not u.startswith(("file:", "data:", "blob:"))]
        assert not away and not asked, (path, away, asked)
        assert page.locator("script").evaluate_all(
            "all => all.every(s => s.nonce || s.type === 'application/json')"
        )
        page.close()


def notebook(text: str, others: list[str]):
    """A notebook that shows the strings in every kind of output."""
    figure = {
        "data": [{"type": "scatter", "y": [1, 2], "name": text, "text": [text, text], "hovertemplate": text}],
        "layout": {
            "title": {"text": text},
            "images": [{"source": others[0], "x": 0, "y": 0}],
            "height": "1px'>",
        },
        "config": {"plotlyServerURL": text, "x": f"</script>{text}"},
        "frames": [],
    }
    cells = [
        new_markdown_cell(f"# Title {text}\n\nQuestion {text}\n"),
        new_markdown_cell("\n\n".join(others)),
    ]
    for n, one in enumerate(others):
        outputs = [
            new_output("display_data", {"text/html": f"<div>{one}</div>"}),
            new_output("display_data", {"text/plain": one}),
            new_output("stream", name="stdout", text=one),
            new_output("stream", name="stderr", text=one),
        ]
        if n % 7 == 0:
            outputs += [
                new_output("display_data", {"text/markdown": one}),
                new_output("display_data", {"text/latex": one}),
                new_output(
                    "display_data", {"image/svg+xml": f"<svg xmlns='http://www.w3.org/2000/svg'>{one}</svg>"}
                ),
                new_output("display_data", {"image/png": f"aGk=' onerror='{one}"}),
                new_output("error", ename=one, evalue=one, traceback=[one]),
            ]
        cells.append(new_code_cell(f"# {one}\nx = {one!r}", outputs=outputs, metadata={"tags": ["headline"]}))
    cells.append(new_code_cell("figure", outputs=[new_output("display_data", {PLOTLY: figure})]))
    return new_notebook(cells=cells)


def what_runs(browser, asked, folder, bodies, change=lambda text: text) -> tuple[int, int]:
    """(pages whose script ran, requests at the server) of pages with these bodies, as they stand."""
    page, ran, before = browser.new_page(), 0, len(asked)
    for n, body in enumerate(bodies):
        path = folder / f"{n}.html"
        path.write_text(change(document("", body)), "utf-8")
        page.goto(path.as_uri())
        page.wait_for_timeout(30)
        ran += page.evaluate("window.hurt !== undefined")
    page.wait_for_timeout(300)
    page.close()
    fetched = len(asked) - before
    asked.clear()
    return ran, fetched
