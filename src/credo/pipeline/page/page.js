// Buttons that save a drawing as a file of its own.
"use strict";
(() => {
  const drawing = document.getElementById("drawing-style").textContent;
  const light = "--paper:#fff;--ink:#1c2126;--soft:#5d6873;--line:#dfe3e7;--panel:#f6f8f9;--c1:#0b66b0;--c2:#c8500a;--c3:#12805c;--c4:#8a4fb5;--quiet:#9aa5ae";
  for (const button of document.querySelectorAll("button.save")) {
    button.addEventListener("click", () => {
      const svg = button.closest("figure").querySelector("svg").cloneNode(true);
      const box = svg.viewBox.baseVal;
      svg.setAttribute("width", box.width);
      svg.setAttribute("height", box.height);
      const style = document.createElement("style");
      style.textContent = `svg{${light};background:var(--paper)}${drawing}`;
      svg.prepend(style);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }));
      link.download = `${button.dataset.name}.svg`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }
})();
