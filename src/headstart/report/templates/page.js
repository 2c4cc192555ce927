"use strict";
// Filtering, sorting, searching, saving. The charts are Vega-Lite, drawn by Vega.
(function () {
  const { names, tables, charts, config } = JSON.parse(document.getElementById("payload").textContent);
  const hidden = { settings: new Set(), datasets: new Set(), models: new Set() };
  const views = new Map();
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  function rows(table) {
    const columns = Object.entries(table);
    const length = columns.length ? (columns[0][1].codes || columns[0][1]).length : 0;
    const value = (column, i) => (column.codes ? column.levels[column.codes[i]] : column[i]);
    return Array.from({ length }, (_, i) =>
      Object.fromEntries(columns.map(([name, column]) => [name, value(column, i)])));
  }

  async function draw() {
    const datasets = Object.fromEntries(Object.entries(tables).map(([name, table]) => [name, rows(table)]));
    for (const [key, spec] of Object.entries(charts)) {
      const place = document.getElementById(key);
      // Only errors are logged: an empty selection is no warning.
      // ast: expressions are interpreted, so that the page forbids evaluating code.
      const result = await vegaEmbed(place, { ...spec, datasets: { ...spec.datasets, ...datasets } }, {
        actions: false, ast: true, config, defaultStyle: false, logLevel: 1, mode: "vega-lite", renderer: "svg",
        tooltip: { disableDefaultStyle: true },
      });
      views.set(key, result.view);
    }
    apply();
  }

  // The filter: one class on whatever is about something hidden, one signal to each chart.
  const kinds = { s: "settings", v: "settings", d: "datasets", m: "models", o: "models" };

  function apply() {
    for (const [letter, kind] of Object.entries(kinds)) {
      for (const element of all(`[data-${letter}]`)) {
        element.classList.toggle(`off-${letter}`, hidden[kind].has(Number(element.dataset[letter])));
      }
    }
    for (const view of views.values()) {
      for (const kind of Object.keys(hidden)) {
        view.signal(`hidden_${kind}`, [...hidden[kind]].map((i) => names[kind][i]));
      }
      view.resize().runAsync();
    }
    showCounts();
    search();
    // A chart that was hidden has to measure its container again.
    window.dispatchEvent(new Event("resize"));
  }

  function showCounts() {
    const counted = Object.entries(hidden).map(([kind, off]) =>
      `${names[kind].length - off.size} of ${names[kind].length} ${names[kind].length === 1 ? kind.slice(0, -1) : kind}`);
    document.getElementById("shown").textContent = `${counted.join(", ")} shown`;
    const nothing = Object.entries(hidden).some(([kind, off]) => off.size === names[kind].length);
    const partial = !nothing && (hidden.datasets.size || hidden.models.size);
    document.getElementById("partial").hidden = !partial;
    document.getElementById("whole").hidden = !partial;
    document.getElementById("nothing").hidden = !nothing;
    document.getElementById("none").hidden = !nothing;
    document.documentElement.classList.toggle("nothing", nothing);
  }

  function choose(box) {
    const off = hidden[box.dataset.kind];
    const i = Number(box.dataset.i);
    if (box.checked) off.delete(i); else off.add(i);
  }

  function chooseAll(kind, checked) {
    for (const box of all(`#choices input[data-kind="${kind}"]`)) {
      box.checked = checked;
      choose(box);
    }
    apply();
  }

  // Sorting: numbers by data-v or their text, text by itself; unknown values stay last.
  function sort(button) {
    const heading = button.closest("th");
    const body = heading.closest("table").tBodies[0];
    const column = heading.cellIndex;
    const numeric = heading.classList.contains("n");
    const before = heading.getAttribute("aria-sort");
    const ascending = before ? before === "descending" : !numeric;
    const value = (row) => {
      const cell = row.cells[column];
      if (!numeric) return cell.textContent;
      const number = Number(cell.dataset.v ?? cell.firstChild.textContent);
      return Number.isNaN(number) ? null : number;
    };
    const sign = ascending ? 1 : -1;
    const compare = (a, b) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
    };
    const sorted = [...body.rows].map((row) => [value(row), row]).sort((a, b) => compare(a[0], b[0]));
    body.append(...sorted.map(([, row]) => row));
    all("[aria-sort]", heading.parentElement).forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  }

  function search() {
    for (const box of all("[data-search]")) {
      const key = box.dataset.search;
      const wanted = box.value.trim().toLowerCase();
      const best = document.querySelector(`[data-versus-best="${key}"]`).checked;
      const found = all(`#${key} tbody tr`).filter((row) => {
        const match = row.textContent.toLowerCase().includes(wanted) && !(best && row.dataset.best === "0");
        row.classList.toggle("unmatched", !match);
        return match && !/\boff-/.test(row.className);
      });
      document.querySelector(`[data-count="${key}"]`).textContent =
        `${found.length} of ${all(`#${key} tbody tr`).length} comparisons`;
    }
  }

  // A saved chart is self-contained: CSS variables become the colours of print.
  async function save(key) {
    const probe = document.createElement("i");
    probe.className = "light";
    document.body.append(probe);
    const style = getComputedStyle(probe);
    const svg = (await views.get(key).toSVG()).replace(/var\((--[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
    probe.remove();
    const link = document.createElement("a");
    link.href = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
    link.download = `${key}.svg`;
    link.click();
  }

  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.matches("#choices input")) { choose(box); apply(); }
    if (box.matches("[data-notes]")) document.getElementById(box.dataset.notes).classList.toggle("notes", box.checked);
    if (box.matches("[data-versus-best]")) search();
  });
  document.addEventListener("input", (event) => { if (event.target.matches("[data-search]")) search(); });
  document.addEventListener("click", (event) => {
    // A link to what is folded away unfolds it.
    const link = event.target.closest('a[href^="#"]');
    const folded = link && document.querySelector(link.hash)?.closest("details");
    if (folded) folded.open = true;
    const button = event.target.closest("button");
    if (!button) return;
    if (button.matches(".sort")) sort(button);
    if (button.dataset.save) save(button.dataset.save);
    if (button.dataset.all) chooseAll(button.dataset.all, true);
    if (button.dataset.none) chooseAll(button.dataset.none, false);
  });
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    closed.forEach((details) => { details.open = true; });
  });
  window.addEventListener("afterprint", () => closed.forEach((details) => { details.open = false; }));

  draw().then(() => { document.documentElement.dataset.ready = "true"; });
})();
