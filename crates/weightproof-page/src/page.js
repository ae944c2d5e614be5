"use strict";
// Adds to a page that is complete without it: theme, series that can be hidden, values under the pointer, sorted tables.
(() => {
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; });

  const tip = document.getElementById("tip");
  const hide = () => { tip.hidden = true; };
  const show = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 8)) + "px";
    tip.style.top = Math.max(4, y - box.height - 12 < 4 ? y + 18 : y - box.height - 12) + "px";
  };

  // Series: a key of the legend hides and shows what belongs to it.
  for (const drawing of document.querySelectorAll("svg.drawing")) {
    const keys = drawing.querySelectorAll(".key");
    if (keys.length) drawing.setAttribute("role", "group");
    for (const key of keys) {
      key.setAttribute("role", "button");
      key.setAttribute("tabindex", "0");
      key.setAttribute("aria-pressed", "true");
      key.setAttribute("aria-label", "show " + key.dataset.name);
      const toggle = () => {
        const on = key.getAttribute("aria-pressed") !== "true";
        key.setAttribute("aria-pressed", on);
        for (const series of drawing.querySelectorAll(`.series[data-series="${key.dataset.series}"]`)) series.classList.toggle("off", !on);
      };
      key.addEventListener("click", toggle);
      key.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); toggle(); }
      });
    }
    // Words of single marks: at once, instead of after a second.
    for (const item of drawing.querySelectorAll(".item")) {
      const title = item.querySelector(":scope > title");
      if (!title) continue;
      const text = title.textContent;
      item.addEventListener("pointerenter", () => title.remove());
      item.addEventListener("pointermove", (event) => show(text, event.clientX, event.clientY));
      item.addEventListener("pointerleave", hide);
    }
    if (drawing.dataset.kind === "chart") chart(drawing);
  }

  // Lines: the nearest place under the pointer, or by arrow keys, with the values of all lines that are shown.
  function chart(drawing) {
    const number = (name) => Number(drawing.dataset[name]);
    const percent = drawing.dataset.percent === "true";
    const format = (v) => (percent ? (100 * v).toFixed(2) + "%" : String(Number(v.toPrecision(5))));
    const lines = [...drawing.querySelectorAll(".series")].map((element) => ({
      element,
      name: element.dataset.name,
      points: element.dataset.points.split(" ").filter(Boolean).map((point) => point.split(",").map(Number)),
    }));
    const shown = () => lines.filter((line) => line.points.length && !line.element.classList.contains("off"));
    const rule = document.createElementNS("http://www.w3.org/2000/svg", "line");
    rule.setAttribute("class", "pointer");
    rule.setAttribute("y1", number("top"));
    rule.setAttribute("y2", number("bottom"));
    let place = null;
    const nearest = (points, x) => points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
    const at = (x) => {
      const all = shown();
      if (!all.length) return clear();
      const [px, , value] = nearest(all.flatMap((line) => line.points), x);
      place = px;
      rule.setAttribute("x1", px);
      rule.setAttribute("x2", px);
      drawing.append(rule);
      const words = [`${drawing.dataset.xLabel.split(" [")[0]} ${Number(value.toPrecision(5))}`];
      for (const line of all) {
        const point = nearest(line.points, px);
        // A straight line has values everywhere, others where they were measured.
        const flat = line.points.every((p) => p[3] === line.points[0][3]);
        if (flat || Math.abs(point[0] - px) < 4) words.push(`${line.name}: ${format(point[3])}`);
      }
      const box = drawing.getBoundingClientRect();
      const scale = box.width / drawing.viewBox.baseVal.width;
      show(words.join("\n"), box.left + px * scale, box.top + number("top") * scale + 40);
    };
    const clear = () => { rule.remove(); hide(); };
    drawing.addEventListener("pointermove", (event) => {
      const box = drawing.getBoundingClientRect();
      const scale = drawing.viewBox.baseVal.width / box.width;
      const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      if (x < number("left") - 8 || x > number("right") + 8 || y < number("top") || y > number("bottom")) return clear();
      at(x);
    });
    drawing.addEventListener("pointerleave", clear);
    drawing.addEventListener("blur", clear);
    drawing.setAttribute("tabindex", "0");
    drawing.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") clear();
      if (!step || event.target !== drawing) return;
      event.preventDefault();
      const places = [...new Set(shown().flatMap((line) => line.points.map((p) => p[0])))].sort((a, b) => a - b);
      const now = place === null ? (step > 0 ? -1 : places.length) : places.indexOf(place);
      at(places[Math.max(0, Math.min(places.length - 1, now + step))]);
    });
  }

  // Tables: a click on a head sorts by its column.
  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length < 2) continue;
    table.querySelectorAll("th").forEach((head, column) => {
      const name = head.querySelector(".name");
      const button = document.createElement("button");
      button.type = "button";
      button.append(...name.childNodes);
      name.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
        const numeric = head.classList.contains("number");
        const rows = [...table.tBodies[0].rows].sort((a, b) => {
          const [x, y] = [key(a), key(b)];
          const missing = (v) => numeric && (v === "–" || v === "");
          if (missing(x) || missing(y)) return missing(x) - missing(y);
          const order = numeric ? Number(x) - Number(y) : x.localeCompare(y);
          return down ? -order : order;
        });
        table.tBodies[0].append(...rows);
      });
    });
  }
  root.dataset.ready = "true";
})();
