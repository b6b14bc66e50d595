"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { names, pairs, gaps, chips, outlines, arrows, refusals, totals } = data;
  const $ = (id) => document.getElementById(id);
  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const number = (value, digits = 2, sign = false) =>
    value === null || value === undefined ? "–" : (sign && value > 0 ? "+" : "") + value.toFixed(digits);
  const days = (value) => `${number(value, 1)} days`;
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const kept = new Set(names.filter((n) => n.kept).map((n) => n.name));
  const keptOf = (pair) => sum(Object.entries(pair.chips).filter(([n]) => kept.has(n)).map(([, v]) => v));
  const refusedOf = (pair) => Object.entries(pair.chips).filter(([n]) => !kept.has(n)).map(([n, v]) => `${v} ${n}`).join(", ");

  // Viridis: ordered in lightness, safe for colour-blind readers.
  const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const ramp = (t) => {
    const x = Math.min(1, Math.max(0, t)) * (VIRIDIS.length - 1), i = Math.min(VIRIDIS.length - 2, Math.floor(x));
    return `rgb(${VIRIDIS[i].map((v, k) => Math.round(v + (VIRIDIS[i + 1][k] - v) * (x - i))).join(",")})`;
  };
  const shownGaps = [...new Set(chips.pair)].map((p) => gaps[p]).filter((gap) => gap !== null);
  const gapLow = Math.min(...shownGaps), gapHigh = Math.max(...shownGaps);
  const gapColour = (gap) => ramp(1 - (gap - gapLow) / Math.max(gapHigh - gapLow, 1e-9));

  function headline() {
    $("title").textContent = data.title;
    const planned = names.some((n) => n.name === "planned");
    const good = sum(pairs.map(keptOf)), all = sum(pairs.flatMap((p) => Object.values(p.chips)));
    const used = pairs.filter((p) => keptOf(p) && p.gap !== null).map((p) => p.gap).sort((a, b) => a - b);
    const refused = pairs.filter((p) => p.state === "refused").length;
    const cards = [
      [data.alone ? "Scenes cut" : "Scene pairs", String(totals.pairs), refused ? `${refused} refused` : "none refused"],
      [planned ? "Chips to look at" : data.alone ? "Chips kept" : "Pairs kept", String(good), planned ? "at most" : `${all - good} chips refused`],
      ["Gap", used.length ? days(used[Math.floor(used.length / 2)]) : "–",
        used.length ? `median of scene pairs; ${number(used[0], 1)} to ${number(used[used.length - 1], 1)}` : "nothing paired"],
      ["Longest shift", arrows.length ? `${number(longest)} px` : "–", "satellite pixels"],
      ["Scenes", String(totals.outlines), totals.refusals ? `${totals.refusals} refused or unmatched` : "both sides"],
    ];
    for (const [name, value, note] of cards) {
      const card = make("div"), shown = make("dd", value);
      shown.append(make("small", note));
      card.append(make("dt", name), shown);
      $("headline").append(card);
    }
  }

  const longest = Math.max(0, ...arrows.map((a) => Math.hypot(a[3], a[4])));
  const canvas = $("map"), tip = $("tip");
  const [left, top, right, bottom] = data.view;
  let unit = 1, x0 = 0, y0 = 0, height = 500, chosen = -1, only = -1, zoom = 1, middle = [(left + right) / 2, (top + bottom) / 2];
  const visible = (i) => (only < 0 || chips.pair[i] === only) && ($("refused").checked || names[chips.code[i]].kept);
  const place = (i) => [chips.at[2 * i] * unit + x0, chips.at[2 * i + 1] * unit + y0];
  const halves = (i) => (chips.shapes[chips.pair[i]] ?? [1, 0, 0, 1]).map((v) => (v / 16) * unit * chips.stride);

  function frame() {
    const width = canvas.clientWidth;
    height = Math.max(280, Math.min(width * (bottom - top) / (right - left), 0.75 * window.innerHeight, 900));
    unit = zoom * Math.min(width / (right - left), height / (bottom - top));
    x0 = width / 2 - middle[0] * unit; y0 = height / 2 - middle[1] * unit;
  }

  function draw() {
    frame();
    const ratio = Math.min(2, window.devicePixelRatio || 1), width = canvas.clientWidth;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    drawChips(context, width);
    for (const outline of outlines) if ($(outline.side).checked) drawOutline(context, outline);
    context.setLineDash([]);
    if ($("shifts").checked) for (const arrow of arrows) if (only < 0 || arrow[0] === only) drawArrow(context, arrow, width);
    if (chosen >= 0) { quad(context, chosen); context.lineWidth = 4; context.strokeStyle = "#fff"; context.stroke(); context.lineWidth = 2; context.strokeStyle = "#000"; context.stroke(); }
    drawScale(context);
    legend();
  }
  const covered = new Set(chips.covered);
  const inset = (i) => (only < 0 && covered.has(i) ? 0.36 : 1);
  function quad(context, i, share = 1) {
    let [x, y] = place(i), [rx, ry, dx, dy] = halves(i);
    x += (share - 1) * (rx - dx); y += (share - 1) * (ry - dy); // the lower left corner stays
    rx *= share; ry *= share; dx *= share; dy *= share;
    context.beginPath();
    context.moveTo(x - rx - dx, y - ry - dy); context.lineTo(x + rx - dx, y + ry - dy);
    context.lineTo(x + rx + dx, y + ry + dy); context.lineTo(x - rx + dx, y - ry + dy);
    context.closePath();
  }
  function drawChips(context, width) {
    const byGap = $("colour").value === "gap";
    // What one date had refused lies small upon what another had kept.
    for (const pass of [true, false]) {
      for (let i = 0; i < chips.pair.length; i += 1) {
        const name = names[chips.code[i]];
        if (name.kept !== pass || !visible(i)) continue;
        const [x, y] = place(i), [rx, ry, dx, dy] = halves(i), size = Math.abs(rx) + Math.abs(dx) + Math.abs(ry) + Math.abs(dy);
        if (x < -size || y < -size || x > width + size || y > height + size) continue;
        context.fillStyle = byGap ? gapColour(gaps[chips.pair[i]]) : name.colour;
        context.globalAlpha = byGap && !pass ? 0.45 : 1;
        quad(context, i, inset(i)); context.fill();
        context.globalAlpha = 1;
        if (size > 8) { context.lineWidth = 0.75; context.strokeStyle = "#fff"; context.stroke(); }
        if (!pass && size > 8) {
          const k = 2 * inset(i) - 1; // to the upper right corner
          context.beginPath(); context.moveTo(x - rx + dx, y - ry + dy); context.lineTo(x + k * (rx - dx), y + k * (ry - dy));
          context.lineWidth = 1; context.strokeStyle = "#1d2328"; context.stroke();
        }
      }
    }
  }
  function drawOutline(context, outline) {
    const pair = pairs[only];
    if (only >= 0 && pair && pair[outline.side] !== outline.id) return;
    context.setLineDash(outline.side === "aerial" ? [9, 6] : []);
    for (const ring of outline.rings) {
      context.beginPath();
      for (let k = 0; k < ring.length; k += 2) context.lineTo(ring[k] * unit + x0, ring[k + 1] * unit + y0);
      context.lineWidth = 4; context.strokeStyle = "rgb(255 255 255 / .7)"; context.stroke();
      context.lineWidth = 2; context.strokeStyle = data.sides[outline.side]; context.stroke();
    }
  }
  function drawArrow(context, [, atX, atY, dy, dx], width) {
    const length = Math.hypot(dy, dx);
    if (!length) return;
    const reach = 0.1 * Math.min(width, height) * length / longest, x = atX * unit + x0, y = atY * unit + y0;
    const ux = dx / length, uy = dy / length, tx = x + ux * reach, ty = y + uy * reach, head = Math.min(9, reach / 2);
    for (const [colour, thick] of [["#fff", 5], ["#000", 2]]) {
      context.strokeStyle = colour; context.lineWidth = thick; context.beginPath();
      context.moveTo(x, y); context.lineTo(tx, ty);
      for (const side of [-0.6, 0.6]) { context.moveTo(tx, ty); context.lineTo(tx - ux * head - uy * head * side, ty - uy * head + ux * head * side); }
      context.stroke();
    }
    context.beginPath(); context.arc(x, y, 3, 0, 7); context.fillStyle = "#000"; context.fill();
  }
  function drawScale(context) {
    const km = roundDown(0.2 * canvas.clientWidth / unit * data.unit_km), length = km / data.unit_km * unit;
    context.fillStyle = "rgb(255 255 255 / .9)"; context.fillRect(10, height - 40, length + 20, 32);
    context.strokeStyle = "#1d2328"; context.lineWidth = 3; context.beginPath(); context.moveTo(20, height - 16); context.lineTo(20 + length, height - 16); context.stroke();
    context.fillStyle = "#1d2328"; context.font = "13px system-ui, sans-serif"; context.fillText(km >= 1 ? `${km} km` : `${+(km * 1000).toPrecision(3)} m`, 20, height - 24);
  }
  const roundDown = (raw) => {
    const power = 10 ** Math.floor(Math.log10(raw));
    return power * [5, 2, 1].find((f) => f * power <= raw);
  };

  function legend() {
    const box = $("legend"); box.replaceChildren();
    const entry = (text, kind, style) => {
      const element = make("span", text), sign = make("span", undefined, { class: kind });
      Object.assign(sign.style, style); element.prepend(sign); box.append(element);
    };
    if ($("colour").value === "gap") {
      const bar = make("span", undefined, { class: "ramp" });
      bar.style.background = `linear-gradient(90deg, ${VIRIDIS.map((_, i) => ramp(1 - i / (VIRIDIS.length - 1))).join(",")})`;
      if (shownGaps.length) box.append(make("span", days(gapLow)), bar, make("span", days(gapHigh)));
    } else {
      const counts = {};
      pairs.forEach((p, i) => { if (only < 0 || i === only) for (const [n, v] of Object.entries(p.chips)) counts[n] = (counts[n] ?? 0) + v; });
      for (const n of names) entry(`${counts[n.name] ?? 0} ${n.kept ? n.name : `refused: ${n.name}`}`, n.kept ? "swatch" : "swatch crossed", { backgroundColor: n.colour });
    }
    entry("satellite footprint", "rule", { borderColor: data.sides.satellite });
    entry("aerial footprint", "rule", { borderColor: data.sides.aerial, borderTopStyle: "dashed" });
    if (longest) box.append(make("span", `→ shift, the longest ${number(longest)} px`));
    if (chips.stride > 1) box.append(make("span", `each square stands for ${chips.stride} × ${chips.stride} chips`));
  }

  function show(i) {
    if (i === chosen) return;
    chosen = i; draw();
    if (i < 0) { tip.style.display = "none"; return; }
    const p = pairs[chips.pair[i]], name = names[chips.code[i]], limit = chips.limit[i];
    const why = chips.value[i] === null ? "" : ` ${chips.value[i]}${limit === null ? "" : ` against ${limit}`}`;
    const lines = [name.kept ? name.name : `refused: ${name.name}${why}`, ...(data.alone ? [] : [`gap ${days(gaps[chips.pair[i]])}`])];
    if (p) {
      if (p.satellite) lines.push(`satellite ${p.satellite}, ${p.days[0]}`);
      if (p.aerial) lines.push(`aerial ${p.aerial}, ${p.days[1]}`);
      if (p.shift) lines.push(`shift ${number(p.shift[0], 2, true)}, ${number(p.shift[1], 2, true)} px, reliability ${number(p.reliability)}`);
    }
    tip.textContent = lines.join("\n");
    tip.style.display = "block";
    const [x, y] = place(i);
    tip.style.left = `${Math.max(4, x + 14 + tip.offsetWidth > canvas.clientWidth ? x - 14 - tip.offsetWidth : x + 14)}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 10, height - tip.offsetHeight - 4))}px`;
  }
  function nearest(x, y, score) {
    let best = -1, least = Infinity;
    for (let i = 0; i < chips.pair.length; i += 1) {
      if (!visible(i)) continue;
      const [cx, cy] = place(i), s = score(cx - x, cy - y, i);
      // Of those at one place, a kept one lies on top.
      if (s < least || (s === least && names[chips.code[i]].kept)) { least = s; best = i; }
    }
    return best;
  }
  const under = (x, y) => nearest(x, y, (dx, dy, i) => {
    const [rx, ry, sx, sy] = halves(i);
    return Math.abs(dx) <= Math.abs(rx) + Math.abs(sx) && Math.abs(dy) <= Math.abs(ry) + Math.abs(sy) ? Math.hypot(dx, dy) : Infinity;
  });
  function step(ux, uy) {
    if (chosen < 0) { show(nearest(canvas.clientWidth / 2, height / 2, Math.hypot)); return; }
    const [x, y] = place(chosen);
    const next = nearest(x, y, (dx, dy) => {
      const along = dx * ux + dy * uy, across = Math.abs(dx * uy - dy * ux);
      return along > 1e-6 && across <= along ? along + 2 * across : Infinity;
    });
    if (next < 0) return;
    const [nx, ny] = place(next);
    if (nx < 0 || ny < 0 || nx > canvas.clientWidth || ny > height) middle = [chips.at[2 * next], chips.at[2 * next + 1]];
    show(next);
  }
  function magnify(factor, at) {
    frame();
    const [x, y] = at ?? [canvas.clientWidth / 2, height / 2], before = [(x - x0) / unit, (y - y0) / unit];
    zoom = Math.min(400, Math.max(0.02, zoom * factor));
    frame();
    const after = [(x - x0) / unit, (y - y0) / unit];
    middle = [middle[0] + before[0] - after[0], middle[1] + before[1] - after[1]];
    draw();
  }
  function whole() { zoom = 1; middle = [(left + right) / 2, (top + bottom) / 2]; draw(); }
  function choose(index) {
    only = index; chosen = -1; tip.style.display = "none"; $("pair").value = String(index);
    document.querySelectorAll("#pairs tr[data-pair]").forEach((row) => row.classList.toggle("chosen", Number(row.dataset.pair) === index));
    draw();
  }

  function controls() {
    $("pair").append(make("option", "all scene pairs", { value: "-1" }));
    pairs.forEach((p, i) => { if (Object.keys(p.chips).length || p.state === "paired") $("pair").append(make("option", `${p.days[0]} ${[p.satellite, p.aerial].filter(Boolean).join(" + ")}`, { value: String(i) })); });
    $("pair").addEventListener("change", () => choose(Number($("pair").value)));
    for (const id of ["colour", "refused", "satellite", "aerial", "shifts"]) $(id).addEventListener("change", draw);
    $("closer").addEventListener("click", () => magnify(1.5));
    $("farther").addEventListener("click", () => magnify(1 / 1.5));
    $("whole").addEventListener("click", whole);
    let grip = null;
    canvas.addEventListener("pointerdown", (event) => { grip = [event.offsetX, event.offsetY, ...middle]; });
    window.addEventListener("pointerup", () => { grip = null; });
    canvas.addEventListener("pointermove", (event) => {
      if (!grip || !event.buttons) { show(under(event.offsetX, event.offsetY)); return; }
      middle = [grip[2] - (event.offsetX - grip[0]) / unit, grip[3] - (event.offsetY - grip[1]) / unit];
      tip.style.display = "none"; chosen = -1; draw();
    });
    canvas.addEventListener("pointerleave", () => show(-1));
    canvas.addEventListener("blur", () => show(-1));
    canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas) return; // the page scrolls until the map is clicked
      event.preventDefault();
      magnify(event.deltaY < 0 ? 1.2 : 1 / 1.2, [event.offsetX, event.offsetY]);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const way = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
      if (way && event.shiftKey) { middle = middle.map((v, k) => v + way[k] * 60 / unit); draw(); }
      else if (way) step(...way);
      else if (event.key === "+" || event.key === "=") magnify(1.5);
      else if (event.key === "-") magnify(1 / 1.5);
      else if (event.key === "0") whole();
      else return;
      event.preventDefault();
    });
    window.addEventListener("resize", draw);
  }

  function head(table, cells) {
    const line = make("tr");
    for (const [text, kind] of cells) line.append(make("th", text, { scope: "col", ...(kind ? { class: kind } : {}) }));
    const part = make("thead"), body = make("tbody");
    part.append(line); table.append(part, body);
    return body;
  }
  function tables() {
    const body = head($("pairs"), [["satellite", "text"], ["aerial", "text"], ["gap, days"], ["shift, px (down, right)"], ["shift, m"], ["reliability"], [data.alone ? "chips" : "pairs"], ["refused", "text"]]);
    pairs.forEach((p, i) => {
      const line = make("tr", undefined, { "data-pair": String(i) }), cell = make("td", undefined, { class: "text" });
      const button = make("button", p.satellite || "–", { type: "button", "aria-label": `Show ${p.satellite || p.aerial} on the map` });
      button.addEventListener("click", () => choose(only === i ? -1 : i));
      cell.append(button);
      const metres = p.shift && p.metres ? p.shift.map((v) => number(v * p.metres, 1, true)).join(" ") : "";
      line.append(cell, make("td", p.aerial, { class: "text" }), make("td", p.gap === null ? "" : number(p.gap, 1)),
        make("td", p.shift ? p.shift.map((v) => number(v, 2, true)).join(" ") : ""), make("td", metres),
        make("td", p.reliability === null ? "" : number(p.reliability)), make("td", String(keptOf(p))),
        make("td", p.state === "refused" ? [`all: ${p.reason}`, p.detail].filter(Boolean).join("; ") : refusedOf(p), { class: "text wide" }));
      body.append(line);
    });
    if (totals.pairs > pairs.length) $("more").textContent = `and ${totals.pairs - pairs.length} more`;
    if (!refusals.length) { $("refusals-section").remove(); return; }
    const list = head($("refusals"), [["satellite", "text"], ["aerial", "text"], ["reason", "text"], ["value"], ["limit"], ["detail", "text"]]);
    for (const r of refusals) {
      const line = make("tr");
      line.append(make("td", r.satellite, { class: "text" }), make("td", r.aerial, { class: "text" }), make("td", r.reason, { class: "text" }),
        make("td", r.value === null || r.value === undefined ? "" : String(r.value)), make("td", r.limit === null || r.limit === undefined ? "" : String(r.limit)), make("td", r.detail ?? "", { class: "text wide" }));
      list.append(line);
    }
    if (totals.refusals > refusals.length) $("more-refusals").textContent = `and ${totals.refusals - refusals.length} more`;
  }

  headline(); controls(); tables(); draw();
})();
