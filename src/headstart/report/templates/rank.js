"use strict";
// Sorting of tables, and the charts, which are Vega-Lite.
(function () {
  const { charts, config } = JSON.parse(document.getElementById("payload").textContent);

  async function draw() {
    for (const [key, spec] of Object.entries(charts)) {
      // ast: expressions are interpreted, so that the page forbids evaluating code.
      const { view } = await vegaEmbed(document.getElementById(key), spec, {
        actions: false, ast: true, config, defaultStyle: false, logLevel: 1, mode: "vega-lite", renderer: "svg",
        tooltip: { disableDefaultStyle: true },
      });
      document.querySelector(`[data-save="${key}"]`).addEventListener("click", async () => {
        const link = document.createElement("a");
        link.href = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(plain(await view.toSVG()));
        link.download = `${key}.svg`;
        link.click();
      });
    }
  }

  // A saved chart is self-contained: CSS variables become the colours of print.
  function plain(svg) {
    const probe = document.createElement("i");
    probe.className = "light";
    document.body.append(probe);
    const style = getComputedStyle(probe);
    const text = svg.replace(/var\((--[a-z0-9-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
    probe.remove();
    return text;
  }

  // Numbers by data-v or their text, text by itself; unknown values stay last.
  function sort(button) {
    const heading = button.closest("th"), body = heading.closest("table").tBodies[0];
    const numeric = heading.classList.contains("n"), before = heading.getAttribute("aria-sort");
    const ascending = before ? before === "descending" : !numeric;
    const value = (row) => {
      const cell = row.cells[heading.cellIndex];
      if (!numeric) return cell.textContent;
      const number = Number(cell.dataset.v ?? cell.firstChild.textContent);
      return Number.isNaN(number) ? null : number;
    };
    const compare = (a, b) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return (ascending ? 1 : -1) * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
    };
    body.append(...[...body.rows].map((row) => [value(row), row]).sort((a, b) => compare(a[0], b[0])).map(([, row]) => row));
    heading.parentElement.querySelectorAll("[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.sort");
    if (button) sort(button);
  });

  draw().then(() => { document.documentElement.dataset.ready = "true"; });
})();
