// A layer of a Fourier map on a canvas: contours by marching squares in the layer's grid, drawn in its true, oblique shape.
"use strict";
(() => {
  const LEVELS = [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96];

  function start(box) {
    const data = JSON.parse(box.querySelector("script").textContent);
    const canvas = box.querySelector("canvas"), pen = canvas.getContext("2d");
    const slider = box.querySelector("input"), said = box.querySelector("output");
    for (const map of data.maps) map.rho = Int8Array.from(atob(map.values), c => c.charCodeAt(0));
    let map = data.maps[0];
    // look across the shortest edge: the fewest layers, the largest picture
    const length = data.cell.map(v => Math.hypot(...v));
    let across = length.indexOf(Math.min(...length));

    const axes = () => [(across + 1) % 3, (across + 2) % 3];

    // the value [rms] at grid point (i, j) of layer k, periodic
    function layer(k) {
      const [u, v] = axes(), n = map.shape, out = new Float32Array((n[u] + 1) * (n[v] + 1));
      const at = [0, 0, 0];
      at[across] = k;
      for (let i = 0; i <= n[u]; i++) for (let j = 0; j <= n[v]; j++) {
        at[u] = i % n[u];
        at[v] = j % n[v];
        out[i * (n[v] + 1) + j] = map.unit * map.rho[(at[0] * n[1] + at[1]) * n[2] + at[2]];
      }
      return out;
    }

    function plane() {
      const [u, v] = axes(), a = data.cell[u], b = data.cell[v];
      const la = Math.hypot(...a), lb = Math.hypot(...b);
      const cos = (a[0] * b[0] + a[1] * b[1] + a[2] * b[2]) / la / lb, sin = Math.sqrt(1 - cos * cos);
      const width = la + lb * Math.abs(cos), height = lb * sin;
      const scale = Math.min((canvas.width - 90) / width, (canvas.height - 70) / height);
      const left = (canvas.width - scale * width) / 2 + (cos < 0 ? -lb * cos * scale : 0);
      const top = (canvas.height - scale * height) / 2;
      return { scale, at: (x, y) => [left + scale * (la * x + lb * cos * y), top + scale * lb * sin * y] };
    }

    function contour(values, nu, nv, level, at, stepU, stepV) {
      pen.beginPath();
      const cross = (p, q) => (level - p) / (q - p);
      for (let i = 0; i < nu; i++) for (let j = 0; j < nv; j++) {
        const k = i * (nv + 1) + j;
        const [p, q, r, s] = [values[k], values[k + nv + 1], values[k + nv + 2], values[k + 1]];
        const cuts = [];
        if ((p < level) !== (q < level)) cuts.push([i + cross(p, q), j]);
        if ((q < level) !== (r < level)) cuts.push([i + 1, j + cross(q, r)]);
        if ((s < level) !== (r < level)) cuts.push([i + cross(s, r), j + 1]);
        if ((p < level) !== (s < level)) cuts.push([i, j + cross(p, s)]);
        for (let m = 0; m + 1 < cuts.length; m += 2) {
          pen.moveTo(...at(cuts[m][0] * stepU, cuts[m][1] * stepV));
          pen.lineTo(...at(cuts[m + 1][0] * stepU, cuts[m + 1][1] * stepV));
        }
      }
      pen.stroke();
    }

    function draw() {
      const k = Number(slider.value), [u, v] = axes(), nu = map.shape[u], nv = map.shape[v];
      const style = getComputedStyle(document.documentElement);
      const [c1, c2, ink, soft] = ["--c1", "--c2", "--ink", "--soft"].map(n => style.getPropertyValue(n).trim());
      const { scale, at } = plane(), values = layer(k);
      const stepU = 1 / (nu * map.extent[u]), stepV = 1 / (nv * map.extent[v]);
      pen.clearRect(0, 0, canvas.width, canvas.height);
      outline(at, soft);
      for (const [sign, colour] of [[1, c1], [-1, c2]]) LEVELS.forEach((level, n) => {
        pen.strokeStyle = colour;
        pen.lineWidth = 1 + 0.25 * n;
        contour(values, nu, nv, sign * level, at, stepU, stepV);
      });
      atoms(k, at, scale, ink);
      const height = k / (map.shape[across] * map.extent[across]);
      said.textContent = `${"xyz"[across]} = ${height.toFixed(3)}, rms ${map.rms.toPrecision(3)} Å⁻²`;
    }

    function outline(at, colour) {
      pen.strokeStyle = colour;
      pen.lineWidth = 1;
      pen.beginPath();
      [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]].forEach((p, n) => n ? pen.lineTo(...at(...p)) : pen.moveTo(...at(...p)));
      pen.stroke();
      const [u, v] = axes();
      pen.fillStyle = colour;
      pen.font = "24px system-ui, sans-serif";
      pen.fillText("0", ...at(0, 0).map((w, n) => w - (n ? 6 : 18)));
      pen.fillText("abc"[u], ...at(1, 0).map((w, n) => w + (n ? -6 : 6)));
      pen.fillText("abc"[v], ...at(0, 1).map((w, n) => w + (n ? 24 : -6)));
    }

    function atoms(k, at, scale, ink) {
      const [u, v] = axes(), spacing = heightOf();
      pen.font = "20px system-ui, sans-serif";
      for (const atom of data.atoms) {
        let off = atom.x[across] - k / (map.shape[across] * map.extent[across]);
        off -= Math.round(off);
        if (Math.abs(off) * spacing > 0.5) continue;
        const [x, y] = at(atom.x[u] - Math.floor(atom.x[u]), atom.x[v] - Math.floor(atom.x[v]));
        pen.fillStyle = atom.colour;
        pen.beginPath();
        pen.arc(x, y, Math.max(3, Math.min(9, 0.14 * scale)), 0, 7);
        pen.fill();
        pen.fillStyle = ink;
        pen.fillText(atom.name, x + 9, y - 7);
      }
    }

    // the distance [Å] between the faces that are looked across
    function heightOf() {
      const [a, b, c] = [across, ...axes()].map(i => data.cell[i]);
      const n = [b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]];
      return Math.abs(a[0] * n[0] + a[1] * n[1] + a[2] * n[2]) / Math.hypot(...n);
    }

    function choose() {
      slider.max = map.shape[across] - 1;
      slider.value = map.peak[across];
      box.querySelectorAll("[data-across]").forEach(b => b.setAttribute("aria-pressed", Number(b.dataset.across) === across));
      box.querySelectorAll("[data-map]").forEach(b => b.setAttribute("aria-pressed", data.maps[Number(b.dataset.map)] === map));
      draw();
    }

    for (const button of box.querySelectorAll("button")) button.addEventListener("click", () => {
      if (button.dataset.across) across = Number(button.dataset.across);
      if (button.dataset.map) map = data.maps[Number(button.dataset.map)];
      choose();
    });
    slider.addEventListener("input", draw);
    for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", draw);
    choose();
  }

  for (const box of document.querySelectorAll(".fourier")) start(box);
})();
