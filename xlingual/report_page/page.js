"use strict";
// Values of the lines under the pointer, or under the arrow keys; the section that is being read.
(() => {
  const tip = document.getElementById("tip");
  const cursors = new WeakMap();

  function cursorOf(svg) {
    if (!cursors.has(svg)) {
      const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
      line.setAttribute("class", "cursor");
      svg.append(line);
      cursors.set(svg, line);
    }
    return cursors.get(svg);
  }

  function dataOf(svg) {
    const {unit, lines} = JSON.parse(svg.dataset.hover);
    const point = text => text.split("|").map((part, place) => (place < 2 ? Number(part) : part));
    return {unit, lines: lines.map(line => ({...line, points: line.points.split(";").map(point)}))};
  }

  function nearest(points, x) {
    return points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
  }

  function show(svg, x) {
    const {unit, lines} = dataOf(svg);
    const found = lines.map(line => ({line, point: nearest(line.points, x)}));
    const at = found.map(one => one.point).reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
    const box = svg.viewBox.baseVal, frame = svg.getBoundingClientRect(), scale = frame.width / box.width;
    const cursor = cursorOf(svg);
    for (const [name, value] of [["x1", at[0]], ["x2", at[0]], ["y1", 0], ["y2", box.height - 40]]) cursor.setAttribute(name, value);
    cursor.style.display = "";
    const head = document.createElement("div");
    head.textContent = `${unit} ${at[2]}`;
    tip.replaceChildren(head, ...found.filter(one => Math.abs(one.point[0] - at[0]) < 8).map(({line, point}) => {
      const row = document.createElement("div"), dot = document.createElement("i"), name = document.createElement("bdi");
      dot.style.background = `var(--${line.colour})`;
      name.textContent = line.name;
      row.append(dot, name, ` ${point[3]}`);
      return row;
    }));
    tip.hidden = false;
    const left = frame.left + at[0] * scale + 12, width = tip.offsetWidth;
    tip.style.left = `${Math.max(8, left + width > innerWidth - 8 ? left - width - 24 : left)}px`;
    tip.style.top = `${Math.max(8, frame.top + 4)}px`;
    return at[0];
  }

  function hide(svg) {
    tip.hidden = true;
    if (cursors.has(svg)) cursors.get(svg).style.display = "none";
  }

  for (const svg of document.querySelectorAll("svg[data-hover]")) {
    let place = 0;
    svg.addEventListener("pointermove", event => {
      const frame = svg.getBoundingClientRect();
      place = show(svg, (event.clientX - frame.left) * svg.viewBox.baseVal.width / frame.width);
    });
    svg.addEventListener("pointerleave", () => hide(svg));
    svg.addEventListener("blur", () => hide(svg));
    svg.addEventListener("keydown", event => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (event.key === "Escape") hide(svg);
      if (!step) return;
      event.preventDefault();
      const xs = [...new Set(dataOf(svg).lines.flatMap(line => line.points.map(p => p[0])))].sort((a, b) => a - b);
      const beyond = step > 0 ? xs.find(x => x > place + 0.05) : xs.findLast(x => x < place - 0.05);
      place = show(svg, beyond ?? xs.at(step > 0 ? -1 : 0));
    });
  }

  const links = new Map([...document.querySelectorAll("nav a")].map(a => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver(entries => {
    for (const entry of entries.filter(one => one.isIntersecting)) {
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, {rootMargin: "-20% 0px -75% 0px"});
  for (const section of document.querySelectorAll("section[id]")) seen.observe(section);
})();
