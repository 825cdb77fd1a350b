// The reciprocal lattice on a canvas: orthographic, turned by mouse, touch or keys; near spots are drawn last and stronger.
"use strict";
(() => {
  const { cross, dot, looking, turned, bytes } = Turn;

  function start(box) {
    const data = JSON.parse(box.querySelector("script").textContent);
    const canvas = box.querySelector("canvas");
    const pen = canvas.getContext("2d");
    const raw = new Int16Array(bytes(data.points).buffer);
    const kind = bytes(data.kind);
    const n = kind.length;
    const whole = Float32Array.from(raw, v => v * data.unit);
    const basis = data.bases[0];
    let points = whole, reach = data.reach, folded = false, zoom = 1, hide = false;
    let direct = null;
    if (basis) {
      const v = dot(basis[0], cross(basis[1], basis[2]));
      direct = [0, 1, 2].map(i => cross(basis[(i + 1) % 3], basis[(i + 2) % 3]).map(x => x / v));
    }
    const axis = data.axis;
    // a little off a zone axis, so that depth is seen at once
    let view = basis ? turned(looking(direct[2], basis[0]), 0.35, 0.25) : looking([0, 0, 1], [1, 0, 0]);

    function fold() {
      const out = new Float32Array(3 * n);
      for (let i = 0; i < n; i++) {
        const q = whole.subarray(3 * i, 3 * i + 3);
        const h = direct.map(a => { const f = dot(a, q); return f - Math.floor(f); });
        for (let k = 0; k < 3; k++)
          out[3 * i + k] = (h[0] - 0.5) * basis[0][k] + (h[1] - 0.5) * basis[1][k] + (h[2] - 0.5) * basis[2][k];
      }
      return out;
    }

    function colours() {
      const style = getComputedStyle(document.documentElement);
      return ["--c2", "--c1", "--c3", "--ink", "--soft", "--c4"].map(name => style.getPropertyValue(name).trim());
    }

    function line(a, b, colour, width) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.beginPath();
      pen.moveTo(...a);
      pen.lineTo(...b);
      pen.stroke();
    }

    function draw() {
      const size = canvas.width, scale = 0.47 * size / reach * zoom, middle = size / 2;
      const at = q => [middle + scale * dot(view[0], q), middle + scale * dot(view[1], q)];
      const colour = colours();
      pen.clearRect(0, 0, size, size);
      spots(colour, scale, middle, size);
      pen.globalAlpha = 1;
      if (!folded) {
        const long = axis.map(v => v * reach * 0.98 / zoom);
        pen.setLineDash([14, 10]);
        line(at(long.map(v => -v)), at(long), colour[5], 2);
        pen.setLineDash([]);
        label("axis", at(long), colour[5]);
      }
      if (basis) cell(at, colour);
    }

    function spots(colour, scale, middle, size) {
      const slices = 6, deep = Array.from({ length: slices }, () => []);
      const depth = new Float32Array(n);
      for (let i = 0; i < n; i++) {
        if (hide && kind[i] === 0) continue;
        const t = (points[3 * i] * view[2][0] + points[3 * i + 1] * view[2][1] + points[3 * i + 2] * view[2][2]) / reach;
        depth[i] = t;
        deep[Math.max(0, Math.min(slices - 1, Math.floor((0.5 - 0.5 * t) * slices)))].push(i);
      }
      const base = (n > 6000 ? 2.2 : 3.4) * size / 1000;
      deep.forEach((members, s) => {
        pen.globalAlpha = 0.35 + 0.6 * s / (slices - 1);
        const r = base * (0.7 + 0.8 * s / (slices - 1));
        for (const k of [0, 1, 2]) {
          pen.fillStyle = colour[k];
          pen.beginPath();
          for (const i of members) {
            if (kind[i] !== k) continue;
            const x = middle + scale * (points[3 * i] * view[0][0] + points[3 * i + 1] * view[0][1] + points[3 * i + 2] * view[0][2]);
            const y = middle + scale * (points[3 * i] * view[1][0] + points[3 * i + 1] * view[1][1] + points[3 * i + 2] * view[1][2]);
            pen.rect(x - r, y - r, 2 * r, 2 * r);
          }
          pen.fill();
        }
      });
    }

    function label(text, [x, y], colour) {
      pen.font = `${Math.round(canvas.width / 36)}px system-ui, sans-serif`;
      pen.fillStyle = colour;
      pen.fillText(text, Math.max(4, Math.min(canvas.width - 60, x + 6)), Math.max(26, Math.min(canvas.height - 8, y - 6)));
    }

    // the reciprocal cell: all twelve edges, from the origin, or round the folded spots; a*, b*, c* thick and named
    function cell(at, colour) {
      const from = folded ? [-0.5, -0.5, -0.5] : [0, 0, 0];
      const corner = (i, j, k) => at([0, 1, 2].map(m => (from[0] + i) * basis[0][m] + (from[1] + j) * basis[1][m] + (from[2] + k) * basis[2][m]));
      const w = canvas.width / 1000;
      for (const [i, j] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
        line(corner(0, i, j), corner(1, i, j), colour[3], 1.2 * w);
        line(corner(i, 0, j), corner(i, 1, j), colour[3], 1.2 * w);
        line(corner(i, j, 0), corner(i, j, 1), colour[3], 1.2 * w);
      }
      // short vectors are drawn longer, as whole multiples, so that they can be seen
      const far = folded ? 1 : Math.max(1, Math.round(0.16 * reach / zoom / Math.max(...basis.map(b => Math.hypot(...b)))));
      [[1, 0, 0], [0, 1, 0], [0, 0, 1]].forEach((e, m) => {
        const tip = corner(...e.map(v => v * far));
        line(corner(0, 0, 0), tip, colour[3], 3 * w);
        label((far > 1 ? far : "") + "abc"[m] + "*", tip, colour[3]);
      });
    }

    function look(name) {
      // along the beam as near as can be, the axis upwards
      if (name === "axis") view = looking(cross(cross(axis, [0, 0, 1]), axis), cross([0, 0, 1], axis));
      else { const i = "abc".indexOf(name); view = looking(direct[i], basis[(i + 1) % 3]); }
      draw();
    }

    for (const button of box.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        const set = button.dataset;
        if (set.view) look(set.view);
        if (set.near) { zoom = Math.max(0.5, Math.min(60, zoom * Number(set.near))); draw(); }
        if ("fold" in set || set.show) {
          const on = button.getAttribute("aria-pressed") !== "true";
          button.setAttribute("aria-pressed", on);
          if (set.show) hide = !on;
          else {
            folded = on;
            zoom = 1;
            points = on ? fold() : whole;
            reach = on ? 0.5 * Math.hypot(...basis.map(b => Math.hypot(...b))) * 1.15 : data.reach;
          }
          draw();
        }
      });
    }
    Turn.follow(
      canvas,
      (yaw, pitch) => { view = turned(view, yaw, pitch); draw(); },
      factor => { zoom = Math.max(0.5, Math.min(60, zoom * factor)); draw(); },
    );
    draw();
  }

  for (const box of document.querySelectorAll(".lattice")) start(box);
})();
