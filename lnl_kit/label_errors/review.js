// The wall of suspicious images: it shows what Python sends, and sends back what was pressed. Names are only ever text.
const STYLE = `
.lnl-review { font: 13px/1.4 system-ui, sans-serif; color: var(--jp-ui-font-color1, #1d2433); outline: none;
  --given: #b03a14; --new: #1c62a8; --soft: #525b6b; --mark: #2f7fd0; }
:is(body[data-jp-theme-light="false"], body.vscode-dark) .lnl-review { --given: #ff9c78; --new: #8cc0ff; --soft: #b4bac4; --mark: #5fa8ef; }
.lnl-review :focus-visible { outline: 2px solid var(--mark); outline-offset: 1px; }
.lnl-review * { box-sizing: border-box; }
.lnl-review:focus-within .now, .lnl-review:focus .now { border-color: var(--mark); box-shadow: 0 0 0 2px var(--mark); }
.lnl-review .bar { display: flex; flex-wrap: wrap; gap: 8px 14px; align-items: center; margin: 6px 0; }
.lnl-review .wall { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 8px; }
.lnl-review .card { border: 2px solid var(--jp-border-color2, #c9d0dc); border-radius: 8px; padding: 6px; cursor: pointer; }
.lnl-review .card.done { border-style: dashed; } .lnl-review .card.done img { opacity: .5; }
.lnl-review .card img { display: block; width: 100%; height: 112px; object-fit: contain; margin-bottom: 4px; }
.lnl-review .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.lnl-review .given { color: var(--given); } .lnl-review .suggested { color: var(--new); font-weight: 600; }
.lnl-review .soft { color: var(--soft); font-size: 12px; }
.lnl-review .why { color: var(--soft); font-size: 11px; height: 2.6em; overflow: hidden; }
.lnl-review .heard { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.lnl-review .decision { font-weight: 600; min-height: 1.4em; }
.lnl-review button, .lnl-review select { font: inherit; color: inherit; background: var(--jp-layout-color2, #f1f3f7);
  border: 1px solid var(--jp-border-color2, #c9d0dc); border-radius: 5px; padding: 2px 8px; cursor: pointer; }
.lnl-review button:disabled { opacity: .45; cursor: default; }
.lnl-review select option { color: #1d2433; background: #fff; }
.lnl-review .heat { border-collapse: collapse; margin: 4px 0 10px; width: auto; color: inherit; font: inherit; }
.lnl-review .heat th { font-weight: 400; padding: 1px 6px; text-align: right; max-width: 110px; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.lnl-review .heat tr:first-child th + th { text-align: center; }
.lnl-review .heat tr:first-child th:first-child { max-width: none; }
.lnl-review .heat td { padding: 0; min-width: 40px; } .lnl-review .heat td button { width: 40px; border-radius: 0; padding: 3px 0; border-color: transparent; }
.lnl-review .heat td button[aria-pressed="true"] { outline: 2px solid var(--mark); outline-offset: -2px; }
.lnl-review details { margin: 4px 0; }
.lnl-review .kinds button { border-radius: 12px; }
.lnl-review .kinds button[aria-pressed="true"] { border-color: var(--mark); box-shadow: inset 0 0 0 1px var(--mark); }
.lnl-review .kind { font-size: 11px; font-weight: 600; }
`;
const KEYS = { a: "accept", k: "keep", d: "drop", u: "unsure" };

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function render({ model, el }) {
  const words = model.get("words");  // all texts come from Python, in the language of the review
  const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (whole, name) => name in values ? values[name] : whole);
  const style = make("style");
  style.textContent = STYLE;
  const root = make("div", "lnl-review");
  root.tabIndex = 0;
  root.setAttribute("role", "application");
  root.setAttribute("aria-label", `${say("name")}. ${say("help")}`);
  root.lang = words.language;
  root.dataset.lmSuppressShortcuts = "true";  // keys pressed here are not JupyterLab's
  const status = make("div", "bar status"), heat = make("details", "cells"), tools = make("div", "bar"), wall = make("div", "wall");
  const heard = make("div", "heard");  // what a screen reader says of the image that the keys are about
  heard.setAttribute("aria-live", "polite");
  status.setAttribute("aria-live", "polite");
  const kinds = make("div", "bar kinds");
  kinds.setAttribute("role", "group");
  kinds.setAttribute("aria-label", say("what_else"));
  heat.open = true;
  root.append(status, heard, kinds, tools, wall, make("div", "soft", say("help")), heat);
  el.append(style, root);

  const cards = () => model.get("cards"), classes = () => model.get("classes");
  // a digit is the class of that name or, where no class is called by a digit, the class at that place
  const named = classes().some((name) => /^[0-9]$/.test(name));
  const byDigit = (key) => named ? classes().find((name) => name === key) : classes()[+key];
  let cursor = model.get("cursor"), waiting = false;
  const send = (what) => {  // one thing at a time: what is pressed before the answer is there was meant for what it shows
    if (waiting) return;
    waiting = true;
    status.textContent = `… ${model.get("status")}`;
    model.send(what);
  };
  const decide = (action, label = "") => cards()[cursor] && send({ do: "decide", image: cards()[cursor].image, action, label });
  const button = (text, title, press, off = false) => {
    const node = make("button", "", text);
    node.setAttribute("aria-label", title);
    Object.assign(node, { title, disabled: off, onclick: (event) => { event.stopPropagation(); press(); root.focus({ preventScroll: true }); } });
    return node;
  };

  function drawStatus() { status.textContent = model.get("status"); }

  function drawKinds() {
    const all = model.get("kinds"), shown = model.get("kind");
    kinds.replaceChildren(...(all.length ? [["", "", ""], ...all] : []).map(([kind, count, name]) => {
      const text = kind ? `${name} (${count})` : say("all");
      const press = button(text, `${text}: ${kind ? say("only_kind", { kind: name }) : say("by_suspicion")}`, () => send({ do: "kind", kind }));
      press.setAttribute("aria-pressed", String(kind === shown));
      return press;
    }));
  }

  function drawTools() {
    const page = model.get("page"), pages = model.get("pages"), filter = model.get("filter");
    tools.replaceChildren(
      button("‹", say("previous"), () => send({ do: "page", page: page - 1 }), page === 0),
      make("span", "", say("page", { page: page + 1, pages })),
      button("›", say("next"), () => send({ do: "page", page: page + 1 }), page + 1 >= pages),
      button(say("undo"), `${say("undo")}: ${say("undo_long")}`, () => send({ do: "undo" }), !model.get("undoable")));
    if (filter.length) {
      tools.append(make("span", "", say("only_cell", { given: classes()[filter[0]], suggested: classes()[filter[1]] })),
        button(say("show_all"), `${say("show_all")}: ${say("leave")}`, () => send({ do: "filter", filter: [] })));
    }
  }

  function drawHeat() {
    const counts = model.get("counts"), filter = model.get("filter"), most = Math.max(1, ...counts.flat());
    const table = make("table", "heat"), head = make("tr");
    const heading = (text, scope) => Object.assign(make("th", "", text), { scope });
    head.append(heading(say("heat_head"), "row"), ...classes().map((name) => heading(name, "col")));
    table.append(head);
    counts.forEach((row, given) => {
      const line = make("tr");
      line.append(heading(classes()[given], "row"));
      row.forEach((count, suggested) => {
        const cell = make("td");
        if (given !== suggested && count) {
          const chosen = filter.length > 0 && filter[0] === given && filter[1] === suggested;
          const press = button(String(count), say("heat_cell", { count, given: classes()[given], suggested: classes()[suggested] }),
            () => send({ do: "filter", filter: chosen ? [] : [given, suggested] }));
          press.style.background = `rgba(47, 127, 208, ${0.12 + 0.7 * count / most})`;
          press.setAttribute("aria-pressed", String(chosen));
          cell.append(press);
        }
        line.append(cell);
      });
      table.append(line);
    });
    heat.replaceChildren(make("summary", "", say("heat")), table);
  }

  const told = (card, i) => [say("card", { at: i + 1, count: cards().length, percent: (100 * card.suspicion).toFixed(0), ...card }),
    card.kind, card.decision].filter(Boolean).join(", ");

  function drawWall() {
    heard.textContent = cards()[cursor] ? told(cards()[cursor], cursor) : "";
    wall.replaceChildren(...cards().map((card, i) => {
      const node = make("div", "card" + (card.decision ? " done" : "") + (i === cursor ? " now" : ""));
      node.dataset.image = card.image;
      node.setAttribute("role", "group");
      node.setAttribute("aria-label", told(card, i));
      if (i === cursor) node.setAttribute("aria-current", "true");
      node.onclick = () => { cursor = i; drawWall(); root.focus({ preventScroll: true }); };
      const picture = make("img");
      Object.assign(picture, { src: card.src, alt: say("image", { image: card.image }), title: card.image });
      const given = make("div", "name", `${say("given")} `), suggested = make("div", "name", `${say("rather")} `);
      given.append(make("span", "given", card.given));
      suggested.append(make("span", "suggested", card.suggested));
      const choose = make("select");
      choose.title = say("menu");
      choose.setAttribute("aria-label", say("menu"));
      choose.append(make("option", "", say("another")), ...classes().map((name, k) => make("option", "", named || k > 9 ? name : `${k}  ${name}`)));
      const done = (decided) => {
        root.focus({ preventScroll: true });
        if (decided && choose.selectedIndex) { cursor = i; decide("class", classes()[choose.selectedIndex - 1]); }
        else choose.selectedIndex = 0;
      };
      let typed = false;  // by keyboard the choice moves from class to class; only Enter decides
      choose.onpointerdown = () => { typed = false; };
      choose.onkeydown = (event) => {
        event.stopPropagation();
        typed = true;
        if (event.key === "Enter" || event.key === "Escape") { event.preventDefault(); done(event.key === "Enter"); }
      };
      choose.onchange = () => { if (!typed) done(true); };
      choose.onclick = (event) => event.stopPropagation();
      const why = make("div", "why", card.because);
      why.title = card.because;  // it may be longer than its place
      const press = make("div", "bar");
      for (const [key, action] of Object.entries(KEYS)) press.append(button(key, `${say(action)} (${key})`, () => { cursor = i; decide(action); }));
      for (const stop of [...press.children, choose]) stop.tabIndex = i === cursor ? 0 : -1;  // Tab leads past the other cards
      node.append(picture, given, suggested, make("div", "soft", say("suspicion", { percent: (100 * card.suspicion).toFixed(0) })),
        ...(card.kind ? [make("div", "kind", card.kind)] : []), why, make("div", "decision", card.decision), press, choose);
      return node;
    }));
  }

  const toCursor = () => wall.children[cursor]?.scrollIntoView({ block: "nearest" });

  root.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key, last = cards().length - 1, page = model.get("page");
    const wide = Math.max(1, getComputedStyle(wall).gridTemplateColumns.split(" ").length);
    const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: wide, ArrowUp: -wide };
    if (KEYS[key]) decide(KEYS[key]);
    else if (key in moves) { cursor = Math.min(last, Math.max(0, cursor + moves[key])); drawWall(); toCursor(); }
    else if (key === "z") send({ do: "undo" });
    else if (key === "c") wall.children[cursor]?.querySelector("select").focus();
    else if (/^[0-9]$/.test(key) && byDigit(key) !== undefined) decide("class", byDigit(key));
    else if (key === "PageDown" && page + 1 < model.get("pages")) send({ do: "page", page: page + 1 });
    else if (key === "PageUp" && page > 0) send({ do: "page", page: page - 1 });
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const drawAll = () => {
    waiting = false;
    cursor = model.get("cursor");
    drawStatus();
    drawKinds();
    drawTools();
    drawHeat();
    drawWall();
    if (root.contains(document.activeElement)) toCursor();  // not when it is first shown
  };
  model.on("change:revision", drawAll);  // Python changes it last, so that all else has arrived
  drawAll();
  return () => model.off("change:revision", drawAll);
}

export default { render };
