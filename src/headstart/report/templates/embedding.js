"use strict";
// Glue only: what is pointed at in one chart, or in the legend, is lit in all. Vega draws.
(function () {
  const { points, charts, config } = JSON.parse(document.getElementById("payload").textContent);
  const views = [];

  function light(lit, picked) {
    for (const view of views) view.signal("lit", lit).signal("picked", picked).runAsync();
  }

  async function draw() {
    for (const [key, spec] of Object.entries(charts)) {
      // ast: expressions are interpreted, so that the page forbids evaluating code.
      const { view } = await vegaEmbed(document.getElementById(key), { ...spec, datasets: { points } }, {
        actions: false, ast: true, config, defaultStyle: false, logLevel: 1, mode: "vega-lite", renderer: "svg",
        tooltip: { disableDefaultStyle: true },
      });
      view.addEventListener("mouseover", (_, item) => {
        if (item && item.datum && item.datum.class !== undefined) light(chosen(), item.datum.image);
      });
      view.addEventListener("mouseout", () => light(chosen(), -1));
      views.push(view);
    }
  }

  // One class may be kept in sight by its button, and is shown while the pointer is on it.
  const buttons = [...document.querySelectorAll("[data-class]")];
  function chosen() {
    const on = buttons.find((button) => button.getAttribute("aria-pressed") === "true");
    return on ? on.dataset.class : "";
  }
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") === "true";
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button && !on)));
      light(chosen(), -1);
    });
    button.addEventListener("mouseenter", () => light(button.dataset.class, -1));
    button.addEventListener("mouseleave", () => light(chosen(), -1));
  }

  draw().then(() => { document.documentElement.dataset.ready = "true"; });
})();
