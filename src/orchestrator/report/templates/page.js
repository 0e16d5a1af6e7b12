"use strict";
// Without this script the page says the same; with it a long table is sorted by its heads and filtered by words.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const field = Object.assign(document.createElement("input"), { type: "search", placeholder: "Filter by words, e.g. label_only 576" });
  field.setAttribute("aria-label", "Filter trials by words that a row holds");
  const count = Object.assign(document.createElement("span"), { className: "note" });
  count.setAttribute("role", "status");
  const line = Object.assign(document.createElement("p"), { className: "filter" });
  line.append(field, count);
  table.parentElement.before(line);

  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const cells = [...row.cells].map((cell) => cell.textContent.trim().toLowerCase());
      row.hidden = !words.every((word) => cells.some((cell) => cell.startsWith(word)));
    }
    count.textContent = ` ${rows.filter((row) => !row.hidden).length} of ${rows.length} trials`;
  };
  field.addEventListener("input", filter);
  filter();

  const valueOf = (row, n) => {
    const text = row.cells[n].dataset.value ?? row.cells[n].textContent.trim();
    const number = Number(text.replace("−", "-").replace(/[ %,<>]/g, ""));
    return text === "–" ? null : Number.isNaN(number) ? text : number;
  };
  const before = (a, b) => (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1);
  // What is missing stays last, whichever way the rest is turned.
  const order = (a, b, turned) => (a === null || b === null ? (a === null) - (b === null) : turned * before(a, b));
  [...table.tHead.rows[0].cells].forEach((head, n) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: head.textContent });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const turned = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", turned === 1 ? "ascending" : "descending");
      rows.sort((a, b) => order(valueOf(a, n), valueOf(b, n), turned));
      body.append(...rows);
    });
  });
}
