// The tree of cells: a click moves the cut and colours what hangs together below it; a branch lists its members.
"use strict";
(() => {
  const holder = document.getElementById("tree-data");
  if (!holder) return;
  const data = JSON.parse(holder.textContent);
  const svg = document.getElementById("tree-svg");
  const line = document.getElementById("tree-line");
  const said = document.getElementById("tree-cut");
  const listed = document.getElementById("tree-members");
  const rows = document.querySelectorAll("#tree-table tbody tr");
  const n = data.names.length;
  const kinds = ["c1", "c2", "c3", "c4"];
  const [top, base] = data.plot;
  const first = [...svg.querySelectorAll(".join, .leaf")].map((e) => [e, e.getAttribute("class")]);

  // members of every node, leaves first
  const members = Array.from({ length: n }, (_, i) => [i]);
  for (const [a, b] of data.joins) members.push([...members[a], ...members[b]]);

  function clusters(cut) {
    const parent = new Array(n + data.joins.length).fill(-1);
    data.joins.forEach(([a, b, h], k) => { if (h <= cut) parent[a] = parent[b] = n + k; });
    const found = [];
    for (let i = 0; i < parent.length; i++)
      if (parent[i] < 0 && (i < n || data.joins[i - n][2] <= cut)) found.push(i);
    return found.sort((a, b) => members[b].length - members[a].length || members[a][0] - members[b][0]);
  }

  function paint(cut) {
    const found = clusters(cut);
    const of = new Array(n);
    found.forEach((node, k) => members[node].forEach((i) => { of[i] = k; }));
    for (const path of svg.querySelectorAll(".join")) {
      const k = Number(path.dataset.join);
      const kind = data.joins[k][2] <= cut ? kinds[of[members[n + k][0]]] || "quiet" : "quiet";
      path.setAttribute("class", `line join ${kind}`);
    }
    for (const text of svg.querySelectorAll(".leaf"))
      text.setAttribute("class", `small leaf ${kinds[of[Number(text.dataset.set)]] || "quiet"}`);
    const y = base - (cut / data.top) * (base - top);
    line.setAttribute("d", line.getAttribute("d").replace(/^M(\S+) \S+?H/, `M$1 ${y.toFixed(1)}H`));
    said.textContent = `${found.length} clusters at ${cut.toPrecision(3)}: ${found.slice(0, 12).map((f) => members[f].length).join(", ")}${found.length > 12 ? ", …" : ""}`;
  }

  function mark(chosen) {
    rows.forEach((row, i) => row.classList.toggle("chosen", chosen.includes(i)));
    listed.textContent = chosen.length ? `${chosen.length} marked: ${chosen.map((i) => data.names[i]).join(", ")}` : "";
  }

  svg.addEventListener("click", (event) => {
    const join = event.target.closest(".join");
    const leaf = event.target.closest(".leaf");
    if (join) return mark([...members[n + Number(join.dataset.join)]].sort((a, b) => a - b));
    if (leaf) return mark([Number(leaf.dataset.set)]);
    const box = svg.getBoundingClientRect();
    const y = ((event.clientY - box.top) / box.height) * svg.viewBox.baseVal.height;
    paint(Math.min(Math.max(((base - y) / (base - top)) * data.top, 0), data.top));
  });
  document.getElementById("tree-reset").addEventListener("click", () => {
    paint(data.cut);
    first.forEach(([element, kind]) => element.setAttribute("class", kind));
    mark([]);
  });
  said.textContent = `cut at ${data.cut.toPrecision(3)}`;
})();
