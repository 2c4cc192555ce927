"use strict";
// What is hovered in one chart, or in the legend, is highlighted in all. The charts are Vega-Lite.
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

  // A class is highlighted while the pointer is on its button, and stays so after a click.
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
