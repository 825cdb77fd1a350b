// Turning things on a canvas: vectors, view matrices, and what mouse, touch and keys ask for.
"use strict";
const Turn = (() => {
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const unit = a => { const n = Math.hypot(...a) || 1; return a.map(v => v / n); };
  const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));

  // rows of the view matrix (right, down, away): looking along `away` with `right` as near as it can be to the right
  function looking(away, right) {
    away = unit(away);
    const d = dot(right, away);
    right = unit(right.map((v, i) => v - d * away[i]));
    return [right, cross(away, right), away];
  }

  function turned(view, yaw, pitch) {
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    const [r, d, a] = view;
    const r2 = r.map((v, i) => cy * v + sy * a[i]);
    const a1 = a.map((v, i) => cy * v - sy * r[i]);
    const d2 = d.map((v, i) => cp * v + sp * a1[i]);
    return [r2, d2, unit(a1.map((v, i) => cp * v - sp * d[i]))];
  }

  // calls turn(yaw, pitch) [rad] and zoom(factor); redraws (turn by nothing) when the colours of the page change
  function follow(canvas, turn, zoom) {
    canvas.addEventListener("pointerdown", event => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", event => {
      if (event.buttons) turn(-event.movementX / 160, -event.movementY / 160);
    });
    canvas.addEventListener("wheel", event => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 300));
    }, { passive: false });
    canvas.addEventListener("keydown", event => {
      const step = { ArrowLeft: [0.06, 0], ArrowRight: [-0.06, 0], ArrowUp: [0, 0.06], ArrowDown: [0, -0.06] }[event.key];
      if (step) turn(...step);
      else if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 1.2 : 0.83);
      else return;
      event.preventDefault();
    });
    for (const query of ["(prefers-color-scheme: dark)", "print"])
      matchMedia(query).addEventListener("change", () => turn(0, 0));
  }

  return { cross, dot, unit, bytes, looking, turned, follow };
})();
