"use strict";
// Tables, charts, and the filter of both. The charts are Vega-Lite, drawn by Vega. Each part does
// without the others, so that any page of tables and charts can have this script.
(function () {
  const { names = {}, labels = {}, grids = {}, tables = {}, charts = {}, config } =
    JSON.parse(document.getElementById("payload").textContent);
  const hidden = Object.fromEntries(Object.keys(names).map((kind) => [kind, new Set()]));
  // What the attributes data-s, ... are about; v and o are the second of a pair.
  const kinds = { s: "settings", v: "settings", d: "datasets", m: "models", o: "models" };
  const views = new Map();
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const unpacked = (column) =>
    column.runs ? column.runs.flatMap((value, i) => Array(column.times[i] || column.times).fill(value))
    : column.codes ? column.codes.map((code) => column.levels[code]) : column;
  const isHidden = (letter, place) => place != null && hidden[kinds[letter]]?.has(Number(place));
  const anyHidden = (keys) => Object.entries(keys || {}).some(([name, place]) => isHidden(name.replace("data-", ""), place));
  document.documentElement.classList.add("script");

  // Tables: the page has the first rows of each; sorting, searching, filtering draw them anew.
  const MORE = 100;

  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  // Text of a cell that breaks behind the signs of names, and in very long words.
  function breakable(text) {
    const kept = text.replaceAll(" %", "\u00a0%").replace(/(^|\s|\de)-(?=\w)/g, "$1-\u2060");
    const broken = kept.replace(/([a-z0-9]{14}|[a-z0-9][_/:?=&]+|[a-z0-9]\.(?=[a-z]))(?=[a-z0-9])/gi, "$1\0");
    return broken.split("\0").flatMap((part, i) => (i ? [element("wbr"), part] : [part]));
  }

  function leadingNumber(text) {
    const found = /^[+\u2212-]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?/.exec(text);
    return found ? Number(found[0].replace("\u2212", "-").replaceAll(",", "")) : null;
  }

  class Grid {
    constructor(section, { columns, keys }) {
      this.section = section;
      this.columns = columns.map((column) => ({
        ...column, texts: unpacked(column.texts), seconds: column.seconds && unpacked(column.seconds),
      }));
      this.keys = keys;
      this.order = (this.columns[0]?.texts || []).map((_, i) => i);
      this.body = section.querySelector("tbody");
      this.first = this.limit = this.body.rows.length;
      this.noun = section.dataset.noun || "rows";
    }

    tool(selector) { return this.section.querySelector(selector); }

    text(column, i) { return column.texts[i] + (column.seconds?.[i] ? ` ${column.seconds[i]}` : ""); }

    short(column, i) {
      const [before, after] = column.affixes || [0, 0];
      return column.texts[i].slice(before, column.texts[i].length - after);
    }

    found() {
      const wanted = (this.tool("[data-search]")?.value || "").trim().toLowerCase();
      const only = this.tool("[data-only]")?.checked ? this.keys[this.tool("[data-only]").dataset.only] : null;
      const letters = Object.entries(this.keys).filter(([name]) => name in kinds && hidden[kinds[name]]?.size);
      if (wanted && !this.lower) this.lower = this.columns[0].texts.map((_, i) => this.columns.map((c) => this.text(c, i)).join("\n").toLowerCase());
      return this.order.filter((i) => (!only || only[i] === 1) && !letters.some(([name, places]) => isHidden(name, places[i])) && (!wanted || this.lower[i].includes(wanted)));
    }

    cell(column, i, first) {
      const text = this.short(column, i);
      const long = text.length > 24 && !column.code;
      const made = element(first ? "th" : "td", { className: column.numeric ? "n" : long ? "long" : "" });
      if (first) made.scope = "row";
      const mark = column.marks?.[i];
      if (column.code) made.append(element("code", { textContent: text.slice(0, 12), title: text }));
      else if (mark === "1") made.append(element("b", { textContent: text }));
      else if (mark === "2") made.append(element("span", { className: "same", textContent: text }));
      else if (mark === "3") made.append(element("span", { className: "name", title: column.texts[i] }, ...breakable(text), " ", element("span", { className: "flag", textContent: "own" })));
      else if (first) made.append(element("span", { className: "name", title: column.texts[i] }, ...breakable(text)));
      else if (text !== column.texts[i]) made.append(element("span", { title: column.texts[i] }, ...breakable(text)));
      else made.append(...breakable(text));
      if (column.second) {
        const beside = element("small", { className: "beside", textContent: column.seconds?.[i] || "" });
        beside.style.minWidth = `${column.room.toFixed(1)}ch`;
        made.append(" ", beside);
      } else if (column.seconds?.[i]) made.append(" ", element("small", { textContent: column.seconds[i] }));
      return made;
    }

    show() {
      const found = this.found();
      const columns = this.columns.filter((column) => !anyHidden(column.keys));
      const rows = found.slice(0, this.limit).map((i) =>
        element("tr", {}, ...columns.map((column) => this.cell(column, i, column === this.columns[0]))));
      this.body.replaceChildren(...rows);
      this.showCount(found.length);
      this.section.dispatchEvent(new Event("shown"));
    }

    showCount(n) {
      const shown = Math.min(this.limit, n), whole = this.order.length;
      const status = this.tool("[data-count]");
      if (!status) return;
      const of = n < whole ? `${n.toLocaleString("en")} of ${whole.toLocaleString("en")} ${this.noun}` : `${whole.toLocaleString("en")} ${this.noun}`;
      status.textContent = shown < n ? `${of}, the first ${shown.toLocaleString("en")} shown` : n < whole ? of : "";
      for (const button of all("[data-more]", this.section)) {
        const more = Math.min(n - shown, Number(button.dataset.more) || MORE);
        button.hidden = shown >= n || (button.dataset.more === "all" && n - shown <= MORE);
        button.textContent = button.dataset.more === "all" ? `Show all ${n.toLocaleString("en")}` : `Show ${more} more`;
      }
    }

    more(which) {
      this.limit = which === "all" ? Infinity : this.limit + MORE;
      this.show();
    }

    // Numbers by their value, text by itself; unknown values stay last.
    sort(place) {
      const column = this.columns[place];
      const heading = all("thead th", this.section)[place];
      const before = heading.getAttribute("aria-sort");
      const ascending = before ? before === "descending" : !column.numeric || column.label === "Rank";
      const values = column.values || (column.numeric ? column.texts.map(leadingNumber) : column.texts);
      const sign = ascending ? 1 : -1;
      this.order.sort((a, b) => {
        const [x, y] = [values[a], values[b]];
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        return sign * (column.numeric ? x - y : x.localeCompare(y, "en", { numeric: true })) || a - b;
      });
      all("[aria-sort]", heading.parentElement).forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      this.show();
    }

    csv() {
      const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
      const plain = (text) => text.replaceAll("\u2212", "-").replace(/^\u2013$/, "");
      // No name is a formula: as `safe_cell` in reporter.py.
      const name = (text) => text.replace(/(^|[;\t\r\n])(?=[\s"]*[=+@\uff1d\uff0b\uff0d\uff20-])/g, "$1'");
      const lines = [[], ...this.order.map(() => [])];
      for (const column of this.columns) {
        const text = column.numeric ? plain : (found) => name(plain(found));
        lines[0].push(name(column.label));
        this.order.forEach((i, at) => lines[at + 1].push(text(column.texts[i])));
        if (!column.seconds) continue;
        lines[0].push(name(column.second || `${column.label}, 95 % interval`));
        this.order.forEach((i, at) => lines[at + 1].push(text(column.seconds[i].replace(/^\((.*)\)$/, "$1"))));
      }
      return lines.map((line) => line.map(quoted).join(",")).join("\r\n");
    }
  }

  const shownGrids = new Map();
  for (const [key, data] of Object.entries(grids)) {
    const section = document.getElementById(key);
    if (section) shownGrids.set(key, new Grid(section, data));
  }
  const gridOf = (inside) => shownGrids.get(inside.closest("section.table")?.id);

  // A cue that a table goes on to the right, or below.
  function cue(frame) {
    const box = frame.firstElementChild;
    frame.classList.toggle("on-right", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
    frame.classList.toggle("on-left", box.scrollLeft > 2);
    const below = box.classList.contains("tall") && box.scrollTop + box.clientHeight < box.scrollHeight - 2;
    frame.classList.toggle("on-below", below);
    if (below) frame.dataset.below = `${box.querySelector("tbody").rows.length} rows, scroll`;
  }
  const resized = new ResizeObserver((entries) => entries.forEach(({ target }) => cue(target.closest(".frame"))));
  for (const frame of all(".frame")) {
    frame.firstElementChild.addEventListener("scroll", () => cue(frame), { passive: true });
    resized.observe(frame.firstElementChild);
    resized.observe(frame.querySelector("table"));
  }

  // One table of several, as the switch says: of its own the first that the filter leaves.
  function switchTables() {
    for (const choice of all("fieldset.switch")) {
      const buttons = all("input", choice);
      for (const button of buttons) button.closest("label").classList.toggle("off-s", isHidden("s", button.dataset.s));
      const left = buttons.filter((button) => !isHidden("s", button.dataset.s));
      const chosen = left.find((button) => button.checked) || left[0];
      if (chosen) chosen.checked = true;
      for (const button of buttons) document.getElementById(button.value).classList.toggle("unchosen", button !== chosen);
    }
  }

  function rows(table) {
    const columns = Object.entries(table).map(([name, column]) => [name, unpacked(column)]);
    return Array.from({ length: columns.length ? columns[0][1].length : 0 }, (_, i) =>
      Object.fromEntries(columns.map(([name, column]) => [name, column[i]])));
  }

  const datasets = Object.fromEntries(Object.entries(tables).map(([name, table]) => [name, rows(table)]));

  async function embed(key, changes) {
    const place = document.getElementById(key);
    const spec = { ...charts[key], ...changes };
    // Only errors are logged: an empty selection is no warning.
    // ast: expressions are interpreted, so that the page forbids evaluating code.
    const result = await vegaEmbed(place, { ...spec, datasets: { ...spec.datasets, ...datasets } }, {
      actions: false, ast: true, config, defaultStyle: false, logLevel: 1, mode: "vega-lite", renderer: "svg",
      tooltip: { disableDefaultStyle: true },
    });
    views.get(key)?.finalize();
    views.set(key, result.view);
    // What has no text of its own, an empty mark say, is nothing to a screen reader.
    for (const mark of all('[role="graphics-symbol"]:not([aria-label])', place)) mark.setAttribute("aria-hidden", "true");
  }

  async function draw() {
    for (const key of Object.keys(charts)) {
      // A chart that fails leaves the others.
      try { await embed(key); } catch (error) {
        console.error(error);
        document.getElementById(key).textContent = "This chart could not be drawn.";
      }
    }
    if (views.size) filterCharts();
  }

  // The filter: one class on whatever is about something hidden, one signal to each chart.
  let wasFiltered = false;

  function apply() {
    const filtered = Object.values(hidden).some((off) => off.size);
    if (filtered || wasFiltered) {
      for (const letter of Object.keys(kinds)) {
        for (const one of all(`[data-${letter}]`)) one.classList.toggle(`off-${letter}`, isHidden(letter, one.dataset[letter]));
      }
      for (const grid of shownGrids.values()) grid.show();
      filterCharts();
    }
    wasFiltered = filtered;
    switchTables();
    showShown();
  }

  function filterCharts() {
    for (const view of views.values()) {
      for (const kind of Object.keys(hidden)) {
        view.signal(`hidden_${kind}`, [...hidden[kind]].map((i) => names[kind][i]));
      }
      view.resize().runAsync();
    }
    // A chart that was hidden has to measure its container again.
    window.dispatchEvent(new Event("resize"));
  }

  function showShown() {
    if (!document.getElementById("choices")) return;
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

  // The choices are listed here, since they do nothing without this script.
  for (const list of all("#choices [data-list]")) {
    const kind = list.dataset.list;
    list.append(...(labels[kind] || names[kind]).map((name, i) => {
      const box = element("input", { type: "checkbox", checked: true });
      Object.assign(box.dataset, { kind, i });
      return element("li", {}, element("label", {}, box, " ", element("span", { textContent: name })));
    }));
  }

  function choose(box) {
    const off = hidden[box.dataset.kind];
    const i = Number(box.dataset.i);
    if (box.checked) off.delete(i); else off.add(i);
  }

  // All, or none, of the names that the search of the list leaves.
  function chooseAll(kind, checked) {
    for (const box of all(`#choices input[data-kind="${kind}"]`)) {
      if (box.closest("li").hidden) continue;
      box.checked = checked;
      choose(box);
    }
    apply();
  }

  function narrow(field) {
    const wanted = field.value.trim().toLowerCase();
    for (const item of all(`[data-list="${field.dataset.narrow}"] li`)) {
      item.hidden = !item.textContent.toLowerCase().includes(wanted);
    }
  }

  // Tables of one switch show their intervals together, whichever is chosen.
  function showNotes(box) {
    const section = box.closest("main > section");
    const together = section.querySelector("fieldset.switch") ? all("[data-notes]", section) : [box];
    for (const one of together) {
      one.checked = box.checked;
      document.getElementById(one.dataset.notes).classList.toggle("notes", box.checked);
    }
  }

  function download(href, name) {
    element("a", { href, download: name }).click();
  }

  // A saved chart is self-contained: CSS variables become the colours of print.
  async function saved(key) {
    const probe = element("i", { className: "light" });
    document.body.append(probe);
    const style = getComputedStyle(probe);
    const svg = (await views.get(key).toSVG()).replace(/var\((--[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
    probe.remove();
    return `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  }

  // Three pixels per unit, on white.
  async function savedPng(key) {
    const image = new Image();
    image.src = await saved(key);
    await image.decode();
    const canvas = element("canvas", { width: 3 * image.width, height: 3 * image.height });
    const context = canvas.getContext("2d");
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/png");
  }

  // Figures with a row per model show the first ones, and all on demand.
  async function showRows(button) {
    const pressed = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(pressed));
    for (const [key, spec] of Object.entries(charts)) {
      if (!key.startsWith(`${button.dataset.rows}-`)) continue;
      const params = spec.params.map((param) => (param.name === "show_all" ? { ...param, value: pressed } : param));
      await embed(key, pressed ? { params, height: spec.usermeta.height } : { params });
    }
    filterCharts();
  }

  // Charts of images by class: what is hovered in one, or in the legend, is highlighted in all. A class
  // is highlighted while the pointer is on its button, and stays so after a click.
  const classes = all("[data-class]");
  const chosenClass = () => classes.find((button) => button.getAttribute("aria-pressed") === "true")?.dataset.class || "";

  function light(lit = chosenClass(), picked = -1) {
    for (const view of views.values()) view.signal("lit", lit).signal("picked", picked).runAsync();
  }

  function lightOnHover() {
    for (const view of views.values()) {
      view.addEventListener("mouseover", (_, item) => { if (item?.datum?.class !== undefined) light(chosenClass(), item.datum.image); });
      view.addEventListener("mouseout", () => light());
    }
    for (const button of classes) {
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") === "true";
        classes.forEach((other) => other.setAttribute("aria-pressed", String(other === button && !on)));
        light();
      });
      button.addEventListener("mouseenter", () => light(button.dataset.class));
      button.addEventListener("mouseleave", () => light());
    }
  }

  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.matches("#choices [data-i]")) { choose(box); apply(); }
    if (box.matches("[data-notes]")) showNotes(box);
    if (box.matches("[data-only]")) gridOf(box).show();
    if (box.matches(".switch input")) {
      // What is searched for stays.
      const typed = all(".table:not(.unchosen) [data-search]", box.closest("section"))[0]?.value || "";
      switchTables();
      const field = document.querySelector(`#${box.value} [data-search]`);
      if (field && field.value !== typed) { field.value = typed; gridOf(field).show(); }
    }
  });
  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-search]")) gridOf(event.target).show();
    if (event.target.matches("[data-narrow]")) narrow(event.target);
  });
  document.addEventListener("click", async (event) => {
    // A link to what is folded away unfolds it.
    const link = event.target.closest('a[href^="#"]');
    if (link) unfold(link.hash);
    const button = event.target.closest("button");
    if (!button) return;
    const { save, png, csv, more, all: every, none } = button.dataset;
    if (button.matches(".sort")) gridOf(button).sort(button.closest("th").cellIndex);
    if (more) gridOf(button).more(more);
    if (button.dataset.rows) showRows(button);
    if (csv) download(`data:text/csv;charset=utf-8,${encodeURIComponent(gridOf(button).csv())}`, `${csv}.csv`);
    if (save) download(await saved(save), `${save}.svg`);
    if (png) download(await savedPng(png), `${png}.png`);
    if (every) chooseAll(every, true);
    if (none) chooseAll(none, false);
  });

  function unfold(hash) {
    const target = document.getElementById(decodeURIComponent(hash.slice(1)));
    for (let folded = target && target.closest("details"); folded; folded = folded.parentElement.closest("details")) folded.open = true;
    const chosen = target && document.querySelector(`.switch input[value="${CSS.escape(target.id)}"]`);
    if (chosen) { chosen.checked = true; switchTables(); }
    return target;
  }
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    closed.forEach((details) => { details.open = true; });
  });
  window.addEventListener("afterprint", () => closed.forEach((details) => { details.open = false; }));

  for (const grid of shownGrids.values()) {
    if (grid.tool("[data-only]")) grid.show(); else grid.showCount(grid.order.length);
  }
  apply();
  // Charts in details are drawn where they have a width: their container is measured when it opens.
  document.addEventListener("toggle", (event) => { if (event.target.open) window.dispatchEvent(new Event("resize")); }, true);
  draw().then(() => {
    if (classes.length) lightOnHover();
    unfold(location.hash)?.scrollIntoView();
    document.documentElement.dataset.ready = "true";
  });
})();
