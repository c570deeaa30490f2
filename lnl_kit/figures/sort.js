// A click on a heading sorts the table by that column, a second click the other way; missing values stay last.
// Tables with cells that span several are left alone.
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
