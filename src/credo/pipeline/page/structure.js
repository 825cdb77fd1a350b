// The structure on a canvas: balls and sticks, orthographic, the far ones first and paler; turned as the lattice is.
"use strict";
(() => {
  const { dot, looking, turned } = Turn;

  function start(box) {
    const data = JSON.parse(box.querySelector("script").textContent);
    const canvas = box.querySelector("canvas");
    const pen = canvas.getContext("2d");
    const show = { whole: true, names: false };
    const middleOf = chosen => [0, 1, 2].map(k => chosen.reduce((s, p) => s + p[k], 0) / (chosen.length || 1));
    const corners = [];
    for (const i of [0, 1]) for (const j of [0, 1]) for (const l of [0, 1])
      corners.push([0, 1, 2].map(k => i * data.cell[0][k] + j * data.cell[1][k] + l * data.cell[2][k]));
    let zoom = 1, view = turned(looking(data.cell[2], data.cell[0]), 0.25, 0.2);

    const shown = i => show.whole || data.listed[i];

    function frame() {
      const points = show.whole ? [...data.xyz, ...corners] : data.xyz.filter((_, i) => data.listed[i]);
      const middle = middleOf(show.whole ? corners : points);
      const reach = 0.8 + Math.max(...points.map(p => Math.hypot(...p.map((v, k) => v - middle[k]))));
      const scale = 0.56 * Math.min(canvas.width, canvas.height) / reach * zoom;
      const at = p => {
        const q = p.map((v, k) => v - middle[k]);
        return [canvas.width / 2 + scale * dot(view[0], q), canvas.height / 2 + scale * dot(view[1], q), dot(view[2], q) / reach];
      };
      return { at, scale };
    }

    function draw() {
      const style = getComputedStyle(document.documentElement);
      const [ink, soft, panel] = ["--ink", "--soft", "--panel"].map(n => style.getPropertyValue(n).trim());
      const { at, scale } = frame();
      const place = data.xyz.map(at);
      pen.clearRect(0, 0, canvas.width, canvas.height);
      const jobs = [];
      data.bonds.forEach(([i, j]) => {
        if (shown(i) && shown(j)) jobs.push([(place[i][2] + place[j][2]) / 2 + 0.002, () => bond(place, i, j, scale, panel)]);
      });
      place.forEach((p, i) => { if (shown(i)) jobs.push([p[2], () => ball(p, data.kinds[data.kind[i]], scale, panel)]); });
      if (show.whole) edges(at, soft);
      jobs.sort((a, b) => b[0] - a[0]).forEach(job => job[1]());
      pen.globalAlpha = 1;
      if (show.names) names(place, ink, scale);
      if (show.whole) axes(at, ink);
    }

    // the far side fades into the paper
    const haze = t => 0.45 + 0.55 * Math.max(0, Math.min(1, 0.5 - 0.6 * t));

    function ball([x, y, t], kind, scale, panel) {
      const r = kind.r * scale;
      pen.globalAlpha = 1;
      pen.fillStyle = panel;
      pen.beginPath();
      pen.arc(x, y, r, 0, 7);
      pen.fill();
      pen.globalAlpha = haze(t);
      const shade = pen.createRadialGradient(x - 0.35 * r, y - 0.4 * r, 0.1 * r, x, y, r);
      shade.addColorStop(0, "#fff");
      shade.addColorStop(0.25, kind.colour);
      shade.addColorStop(1, kind.colour);
      pen.fillStyle = shade;
      pen.fill();
      pen.strokeStyle = "rgba(0,0,0,.35)";
      pen.lineWidth = Math.max(0.6, 0.06 * r);
      pen.stroke();
    }

    function bond(place, i, j, scale, panel) {
      const [a, b] = [place[i], place[j]], middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
      for (const [end, k] of [[a, i], [b, j]]) {
        for (const [colour, width, alpha] of [[panel, 0.2, 1], [data.kinds[data.kind[k]].colour, 0.15, haze((a[2] + b[2]) / 2)]]) {
          pen.globalAlpha = alpha;
          pen.strokeStyle = colour;
          pen.lineWidth = Math.max(1, width * scale);
          pen.beginPath();
          pen.moveTo(end[0], end[1]);
          pen.lineTo(...middle);
          pen.stroke();
        }
      }
    }

    function edges(at, colour) {
      pen.globalAlpha = 0.7;
      pen.strokeStyle = colour;
      pen.lineWidth = 1.2;
      pen.beginPath();
      for (let i = 0; i < 8; i++) for (const bit of [1, 2, 4]) {
        if (i & bit) continue;
        pen.moveTo(...at(corners[i]).slice(0, 2));
        pen.lineTo(...at(corners[i | bit]).slice(0, 2));
      }
      pen.stroke();
    }

    function text(words, x, y, colour, size) {
      pen.font = `${size}px system-ui, sans-serif`;
      pen.fillStyle = colour;
      pen.fillText(words, x, y);
    }

    function names(place, colour, scale) {
      place.forEach((p, i) => {
        if (data.listed[i]) text(data.names[i], p[0] + 0.3 * scale, p[1] - 0.2 * scale, colour, Math.max(14, Math.min(26, 0.5 * scale)));
      });
    }

    function axes(at, colour) {
      [4, 2, 1].forEach((bit, k) => { const [x, y] = at(corners[bit]); text("abc"[k], x + 6, y - 6, colour, 26); });
      const [x, y] = at(corners[0]);
      text("0", x + 6, y - 6, colour, 22);
    }

    function look(name) {
      const i = "abc".indexOf(name);
      view = looking(data.cell[i], data.cell[(i + 1) % 3]);
      draw();
    }

    for (const button of box.querySelectorAll("button")) button.addEventListener("click", () => {
      const set = button.dataset;
      if (set.view) look(set.view);
      if (set.near) zoom = Math.max(0.3, Math.min(20, zoom * Number(set.near)));
      if (set.toggle) {
        show[set.toggle] = !show[set.toggle];
        button.setAttribute("aria-pressed", show[set.toggle]);
      }
      draw();
    });
    Turn.follow(
      canvas,
      (yaw, pitch) => { view = turned(view, yaw, pitch); draw(); },
      factor => { zoom = Math.max(0.3, Math.min(20, zoom * factor)); draw(); },
    );
    draw();
  }

  for (const box of document.querySelectorAll(".structure")) start(box);
})();
