"""What every page of the kit shares: its style sheet, its scripts."""

from __future__ import annotations

PLOTLY = "application/vnd.plotly.v1+json"
# A click on a heading sorts the table by that column, a second click the other way; missing values stay last.
# Tables with cells that span several are left alone.
SORT = """
for (const table of document.querySelectorAll("table")) {
  const spanning = table.querySelector("[colspan]:not([colspan='1']), [rowspan]:not([rowspan='1'])");
  if (!table.tHead || !table.tBodies.length || spanning) continue;
  table.classList.add("sortable");
  table.tHead.addEventListener("click", event => {
    const column = event.target.cellIndex, rows = [...table.tBodies[0].rows];
    const down = table.dataset.sorted !== "-" + column;
    const value = row => row.cells[column].textContent.trim();
    const known = text => text !== "" && text !== "–";
    const number = text => parseFloat(text.replace("%", ""));
    const numeric = rows.every(row => !known(value(row)) || !isNaN(number(value(row))));
    const compare = (a, b) => numeric ? number(a) - number(b) : a.localeCompare(b);
    rows.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (known(x) !== known(y)) return known(x) ? -1 : 1;
      return (down ? -1 : 1) * (known(x) ? compare(x, y) : 0);
    });
    table.tBodies[0].append(...rows);
    table.dataset.sorted = down ? "-" + column : "+" + column;
  });
}
"""
STYLE = """
:root { color-scheme: light; --ink: #1d2433; --soft: #5b6577; --line: #e3e7ee; --paper: #fff;
  --ground: #f6f7fa; --accent: #2f5fd0; --good: #1d7f4f; --bad: #b3261e; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; background: var(--ground); color: var(--ink); line-height: 1.55;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 8px; letter-spacing: -.01em; }
h2 { font-size: 1.45rem; line-height: 1.25; margin: 2em 0 .5em; letter-spacing: -.01em; }
h3 { font-size: 1.12rem; margin: 1.6em 0 .4em; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
p { margin: .6em 0; } img, svg { max-width: 100%; height: auto; }
code, pre { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
:not(pre) > code { background: #eceff5; border-radius: 4px; padding: 1px 5px; }
pre { margin: 0; padding: 12px 16px; overflow-x: auto; }
math[display=block] { margin: 1em 0; font-size: 1.1em; overflow-x: auto; overflow-y: hidden; }
blockquote { margin: 1em 0; padding: 0 16px; border-left: 3px solid var(--line); color: var(--soft); }
.lead { font-size: 1.08rem; color: var(--soft); max-width: 48em; }
.meta { color: var(--soft); font-size: .9rem; }
.card, figure { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; }
.card { overflow-x: auto; margin: 14px 0; } .card .html { padding: 12px 16px; }
figure { margin: 18px 0; padding: 14px 16px 12px; overflow-x: auto; }
figure .plot { min-width: 560px; }
figcaption { border-top: 1px solid var(--line); margin-top: 10px; padding-top: 10px; color: var(--soft);
  font-size: .92rem; }
figcaption b { color: var(--ink); }
details { margin: 10px 0; border: 1px solid var(--line); border-radius: 10px; background: var(--paper); }
summary { cursor: pointer; padding: 6px 14px; color: var(--soft); font-size: .88rem; overflow: hidden;
  white-space: nowrap; text-overflow: ellipsis; }
summary code { background: none !important; padding: 0 !important; }
details[open] summary { border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px; text-align: right; border: 0; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #c9d0dc; }
table.sortable thead th { cursor: pointer; } table.sortable thead th:hover { color: var(--accent); }
.thumb { height: 64px; border: 1px solid var(--line); border-radius: 4px; margin: 2px; background: #fff; }
.thumbs { text-align: left; min-width: 300px; }
.status { font-weight: 600; } .finished { color: var(--good); } .failed { color: var(--bad); }
.error { border: 1px solid #efc4c0; background: #fdf3f2; border-radius: 10px; padding: 10px 16px;
  margin: 14px 0; overflow-x: auto; } .error pre { padding: 6px 0; }
nav { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 12px;
  margin: 28px 0 8px; }
nav a { display: block; padding: 14px 16px; color: inherit; background: var(--paper);
  border: 1px solid var(--line); border-radius: 10px; }
nav a:hover { border-color: var(--accent); text-decoration: none; }
nav b { display: block; margin-bottom: 4px; line-height: 1.3; }
section { margin-top: 52px; padding-top: 4px; border-top: 1px solid var(--line); }
section > h2 { margin: 1em 0 .2em; font-size: 1.6rem; }
@media (max-width: 600px) { main { padding: 24px 14px 60px; } h1 { font-size: 1.6rem; }
  figure { padding: 8px 8px 10px; } }
@media print { body { background: #fff; } figure, .card { break-inside: avoid; } }
"""
