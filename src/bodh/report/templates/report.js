(() => {
  "use strict";
  const root = document.documentElement;
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme:dark)").matches;
  const themeButton = document.querySelector(".theme");
  const tell = () => themeButton.setAttribute("aria-label", dark() ? "Switch to the light theme" : "Switch to the dark theme");
  try { const kept = localStorage.getItem("bodh-theme"); if (kept) root.dataset.theme = kept; } catch { /* files may have no storage */ }
  tell();
  themeButton.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("bodh-theme", root.dataset.theme); } catch { /* as above */ }
    tell();
  });

  const make = (tag, text, kind) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (kind) node.className = kind;
    return node;
  };
  const tipIn = (box) => {
    let tip = box.querySelector(":scope > .tip");
    if (!tip) { tip = make("div", undefined, "tip"); tip.hidden = true; box.append(tip); }
    return tip;
  };
  const place = (box, tip, x, y) => {
    tip.hidden = false;
    const room = box.getBoundingClientRect();
    const left = Math.min(Math.max(0, x + 14), Math.max(0, room.width - tip.offsetWidth));
    const flipped = x + 14 + tip.offsetWidth > room.width ? Math.max(0, x - 14 - tip.offsetWidth) : left;
    tip.style.left = `${flipped}px`;
    tip.style.top = `${Math.max(-8, y - tip.offsetHeight - 12)}px`;
  };

  for (const box of document.querySelectorAll(".plot[data-lines]")) {
    const data = JSON.parse(box.dataset.lines);
    for (const svg of box.querySelectorAll("svg.chart")) {
      const [left, right, top, bottom] = svg.dataset.plot.split(" ").map(Number);
      const cursor = svg.querySelector(".cursor"), rule = cursor.querySelector(".rule");
      const hide = () => { cursor.setAttribute("hidden", ""); tipIn(box).hidden = true; };
      svg.addEventListener("pointerleave", hide);
      svg.addEventListener("pointermove", (event) => {
        const room = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / room.width;
        const share = ((event.clientX - room.left) * scale - left) / (right - left);
        const near = data.lines.map((line) => line.points.reduce((best, point) =>
          !best || Math.abs(point[0] - share) < Math.abs(best[0] - share) ? point : best, null));
        const nearest = near.reduce((best, point) =>
          point && (!best || Math.abs(point[0] - share) < Math.abs(best[0] - share)) ? point : best, null);
        if (!nearest || share < -.08 || share > 1.08) { hide(); return; }
        const at = left + nearest[0] * (right - left);
        rule.setAttribute("x1", at); rule.setAttribute("x2", at);
        cursor.querySelectorAll("circle").forEach((dot) => dot.remove());
        const tip = tipIn(box);
        tip.replaceChildren(make("div", `${data.x}: ${nearest[2]}`));
        const order = near.map((point, i) => [point, i]).filter(([point]) => point && Math.abs(point[0] - nearest[0]) < .02);
        order.sort((a, b) => b[0][1] - a[0][1]);
        for (const [point, i] of order) {
          const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
          dot.setAttribute("class", `dot c${data.lines[i].c}`);
          dot.setAttribute("cx", left + point[0] * (right - left));
          dot.setAttribute("cy", bottom - point[1] * (bottom - top));
          dot.setAttribute("r", 4.5);
          cursor.append(dot);
          const row = make("div", undefined, "k");
          row.append(make("span", data.lines.length > 1 ? data.lines[i].name : ""), make("b", point[3]));
          tip.append(row);
        }
        cursor.removeAttribute("hidden");
        place(box, tip, at / scale, event.clientY - room.top);
      });
    }
  }

  for (const block of document.querySelectorAll("section.heatmap")) {
    const buttons = block.querySelectorAll(".switch button");
    for (const button of buttons) button.addEventListener("click", () => {
      block.classList.toggle("counts", button.dataset.show === "counts");
      for (const other of buttons) other.setAttribute("aria-pressed", other === button);
    });
    const table = block.querySelector("table"), box = block.querySelector(".plot"), tip = tipIn(box);
    const columns = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    const show = (event) => {
      const cell = event.target.closest("td");
      if (!cell) { tip.hidden = true; return; }
      const row = cell.parentElement.cells[0], total = Number(row.dataset.total);
      const count = Number(cell.dataset.n), share = total ? (100 * count / total).toFixed(1) : "0";
      tip.replaceChildren(make("div", row.textContent.trim() + (cell.classList.contains("d") ? " recognised" : ` taken for ${columns[cell.cellIndex]}`)),
        make("b", `${count} of ${total} (${share} %)`));
      const room = box.getBoundingClientRect(), at = cell.getBoundingClientRect();
      place(box, tip, at.right - room.left - 8, at.top - room.top);
    };
    table.addEventListener("pointerover", show);
    table.addEventListener("click", show);
    table.addEventListener("pointerleave", () => { tip.hidden = true; });
  }

  for (const box of document.querySelectorAll(".plot[data-map]")) {
    const data = JSON.parse(box.dataset.map), svg = box.querySelector("svg"), ring = svg.querySelector(".ring"), tip = tipIn(box);
    const sheet = box.dataset.columns ? { columns: +box.dataset.columns, rows: +box.dataset.rows, uri: box.querySelector("template").content.querySelector("img").getAttribute("src") } : null;
    const hide = () => { ring.setAttribute("hidden", ""); tip.hidden = true; };
    let only = -1;
    svg.addEventListener("pointerleave", hide);
    const show = (event) => {
      const room = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / room.width;
      const x = (event.clientX - room.left) * scale, y = (event.clientY - room.top) * scale;
      let best = -1, least = (26 * scale) ** 2;
      data.at.forEach(([a, b], i) => {
        const far = (a - x) ** 2 + (b - y) ** 2;
        if (far < least && (only < 0 || data.of[i] === only)) { least = far; best = i; }
      });
      if (best < 0) { hide(); return; }
      const [a, b] = data.at[best];
      ring.setAttribute("cx", a); ring.setAttribute("cy", b); ring.removeAttribute("hidden");
      tip.replaceChildren();
      if (sheet) {
        const thumb = make("span", undefined, "thumb");
        thumb.style.backgroundImage = `url("${sheet.uri}")`;
        thumb.style.backgroundSize = `${sheet.columns * 80}px ${sheet.rows * 80}px`;
        thumb.style.backgroundPosition = `${-(best % sheet.columns) * 80}px ${-Math.floor(best / sheet.columns) * 80}px`;
        tip.append(thumb);
      }
      if (data.words[best]) tip.append(make("span", data.words[best], "words"));
      if (data.of[best] >= 0) tip.append(make("b", data.groups[data.of[best]]));
      if (!tip.childNodes.length) tip.append(make("span", "no label"));
      place(box, tip, a / scale, b / scale);
    };
    svg.addEventListener("pointermove", show);
    svg.addEventListener("pointerdown", show);
    const chips = box.parentElement.querySelectorAll(".chips button");
    for (const chip of chips) chip.addEventListener("click", () => {
      only = only === +chip.dataset.g ? -1 : +chip.dataset.g;
      svg.classList.toggle("focus", only >= 0);
      for (const group of svg.querySelectorAll("g")) group.classList.toggle("on", +group.dataset.g === only);
      for (const name of svg.querySelectorAll("text.place")) name.classList.toggle("on", name.textContent === data.groups[only]);
      for (const other of chips) other.setAttribute("aria-pressed", +other.dataset.g === only);
      hide();
    });
  }

  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
})();
