// The page's buttons: layers of a pattern on and off, zoom and pan, drawings saved as files of their own.
"use strict";
(() => {
  const drawing = document.getElementById("drawing-style").textContent;
  const light = "--paper:#fff;--ink:#1c2126;--soft:#5d6873;--line:#dfe3e7;--panel:#f6f8f9;--c1:#0b66b0;--c2:#c8500a;--c3:#12805c;--c4:#8a4fb5;--quiet:#9aa5ae";

  function keep(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function save(button) {
    const figure = button.closest("figure"), canvas = figure.querySelector("canvas");
    if (canvas) return canvas.toBlob(blob => keep(blob, `${button.dataset.name}.png`));
    const svg = figure.querySelector("svg").cloneNode(true);
    const box = svg.viewBox.baseVal;
    svg.setAttribute("width", box.width);
    svg.setAttribute("height", box.height);
    const style = document.createElement("style");
    style.textContent = `svg{${light};background:var(--paper)}${drawing}`;
    svg.prepend(style);
    keep(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }), `${button.dataset.name}.svg`);
  }

  function toggle(button) {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    const layer = button.closest("figure").querySelector(`g[data-layer="${button.dataset.layer}"]`);
    if (on) layer.removeAttribute("display"); else layer.setAttribute("display", "none");
  }

  // zoom by `factor` about a point given as fractions (u, v) of the view
  function zoom(svg, whole, factor, u, v) {
    const box = svg.viewBox.baseVal;
    const width = Math.min(whole.width, Math.max(whole.width / 40, box.width / factor));
    const height = width * whole.height / whole.width;
    place(svg, whole, box.x + u * (box.width - width), box.y + v * (box.height - height), width, height);
  }

  function place(svg, whole, x, y, width, height) {
    x = Math.max(0, Math.min(whole.width - width, x));
    y = Math.max(0, Math.min(whole.height - height, y));
    svg.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
  }

  function plate(svg) {
    const whole = { width: svg.viewBox.baseVal.width, height: svg.viewBox.baseVal.height };
    for (const button of svg.closest("figure").querySelectorAll("button[data-zoom]"))
      button.addEventListener("click", () => zoom(svg, whole, Number(button.dataset.zoom), 0.5, 0.5));
    svg.addEventListener("wheel", event => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const area = svg.getBoundingClientRect();
      zoom(svg, whole, Math.exp(-event.deltaY / 300), (event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height);
    }, { passive: false });
    svg.addEventListener("pointermove", event => {
      const box = svg.viewBox.baseVal;
      if (!event.buttons || box.width >= whole.width) return;
      const scale = box.width / svg.getBoundingClientRect().width;
      place(svg, whole, box.x - event.movementX * scale, box.y - event.movementY * scale, box.width, box.height);
    });
  }

  for (const button of document.querySelectorAll("button.save")) button.addEventListener("click", () => save(button));
  for (const button of document.querySelectorAll("button[data-layer]")) button.addEventListener("click", () => toggle(button));
  for (const svg of document.querySelectorAll("svg.plate")) plate(svg);
})();
