"use strict";
(() => {
  const { summary, tiles, overview, pictures } = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const LABELS = {
    gain_db: "gain over bicubic (dB)", psnr_db: "PSNR (dB)", bicubic_psnr_db: "bicubic PSNR (dB)",
    ssim: "SSIM", cpsnr_db: "cPSNR (dB)", sam_deg: "spectral angle (degrees)",
    lr_consistency: "LR consistency (RMSE)", valid_fraction: "valid share",
    registration_residual_px: "registration residual (LR px)", category: "land cover", split: "split",
  };
  const number = (value, digits = 2, sign = false) =>
    value === null || value === undefined ? "–" : (sign && value > 0 ? "+" : "") + value.toFixed(digits);

  // Viridis and a blue-orange pair: ordered in lightness, safe for colour-blind readers.
  const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const DIVERGING = [[166, 86, 20], [236, 178, 116], [240, 240, 240], [128, 183, 224], [16, 92, 150]];
  const NAMED = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f"];
  const ramp = (stops, t) => {
    const x = Math.min(1, Math.max(0, t)) * (stops.length - 1), i = Math.min(stops.length - 2, Math.floor(x));
    return `rgb(${stops[i].map((v, k) => Math.round(v + (stops[i + 1][k] - v) * (x - i))).join(",")})`;
  };

  function headline() {
    const scope = summary.scope === "test" ? "held-out test tiles" : "tiles";
    $("about").textContent = [summary.model && `model ${summary.model}`, summary.reference && `reference ${summary.reference}`,
      summary.gap_days !== null && `${number(summary.gap_days, 1)} days apart`].filter(Boolean).join(" · ");
    const interval = summary.gain_db_interval;
    const cards = [
      ["Gain over bicubic", `${number(summary.gain_db, 2, true)} dB`,
        interval ? `95 % interval ${number(interval[0], 2, true)} to ${number(interval[1], 2, true)} over places` : "pooled PSNR"],
      ["PSNR", `${number(summary.psnr_db)} dB`, `bicubic ${number(summary.bicubic_psnr_db)} dB`],
      ["SSIM", number(summary.ssim, 3), `bicubic ${number(summary.bicubic_ssim, 3)}`],
      ["Worse than bicubic", summary.share_worse === null ? "–" : `${Math.round(summary.share_worse * 100)} %`, "of tiles"],
      ["LR consistency", number(summary.lr_consistency, 4), `bicubic ${number(summary.bicubic_lr_consistency, 4)}; lower is better`],
      ["Tiles", String(summary.tiles), `${scope}, of ${summary.tiles_all} in all`],
    ];
    for (const [name, value, note] of cards) {
      const card = make("div"), shown = make("dd", value);
      shown.append(make("small", note));
      card.append(make("dt", name), shown);
      $("headline").append(card);
    }
  }

  function scale(key) {
    const named = typeof tiles.find((t) => t[key] !== null)?.[key] === "string";
    if (named) {
      const names = [...new Set(tiles.map((t) => t[key]).filter((v) => v !== null))].sort();
      return { names, colour: (v) => NAMED[names.indexOf(v) % NAMED.length] };
    }
    const values = tiles.map((t) => t[key]).filter((v) => v !== null).sort((a, b) => a - b);
    const at = (q) => values[Math.round(q * (values.length - 1))] ?? 0;
    let low = at(0.02), high = at(0.98);
    if (key === "gain_db") { high = Math.max(Math.abs(low), Math.abs(high), 1e-6); low = -high; }
    const stops = key === "gain_db" ? DIVERGING : VIRIDIS;
    return { low, high, stops, colour: (v) => ramp(stops, (v - low) / Math.max(high - low, 1e-12)) };
  }

  function map() {
    const canvas = $("map"), tip = $("tip"), select = $("score"), photo = $("photo");
    const keys = Object.keys(LABELS).filter((k) => tiles.some((t) => t[k] !== null && t[k] !== undefined));
    for (const key of keys) select.append(make("option", LABELS[key], { value: key }));
    const image = new Image();
    const places = new Map(tiles.map((t) => [`${t.row},${t.col}`, t]));
    const aspect = overview.height / overview.width;
    let chosen = null, colours = null;

    const geometry = () => ({ unit: canvas.width / overview.width });
    function draw() {
      const ratio = Math.min(2, window.devicePixelRatio || 1);
      const width = canvas.clientWidth, height = Math.min(width * aspect, 1400);
      canvas.style.height = `${height}px`;
      canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
      const context = canvas.getContext("2d"), { unit } = geometry();
      if (photo.checked && image.complete) context.drawImage(image, 0, 0, canvas.width, canvas.height);
      colours = scale(select.value);
      for (const t of tiles) {
        const x = (t.col - overview.left) * unit, y = (t.row - overview.top) * unit;
        const value = t[select.value];
        context.globalAlpha = photo.checked ? 0.62 : 1;
        if (value !== null) { context.fillStyle = colours.colour(value); context.fillRect(x, y, unit - 1, unit - 1); }
        context.globalAlpha = 1;
        if (summary.scope === "test" && t.split === "test" && select.value !== "split") {
          context.lineWidth = 1.5; context.strokeStyle = "#111"; context.strokeRect(x + 0.5, y + 0.5, unit - 2, unit - 2);
        }
        if (t === chosen) { context.lineWidth = 3; context.strokeStyle = "#fff"; context.strokeRect(x + 1, y + 1, unit - 3, unit - 3);
          context.lineWidth = 1; context.strokeStyle = "#000"; context.strokeRect(x, y, unit - 1, unit - 1); }
      }
      legend();
    }
    function legend() {
      const box = $("legend"); box.replaceChildren();
      if (colours.names) {
        for (const name of colours.names) {
          const entry = make("span", name), swatch = make("span", undefined, { class: "swatch" });
          swatch.style.background = colours.colour(name); entry.prepend(swatch); box.append(entry);
        }
        return;
      }
      const bar = make("span", undefined, { class: "ramp" });
      bar.style.background = `linear-gradient(90deg, ${colours.stops.map((_, i) => ramp(colours.stops, i / (colours.stops.length - 1))).join(",")})`;
      const digits = Math.max(2, 1 - Math.floor(Math.log10(Math.max(colours.high - colours.low, 1e-9))));
      box.append(make("span", number(colours.low, digits)), bar, make("span", number(colours.high, digits)),
        make("span", "colours end at the 2nd and 98th percentile"));
      if (summary.scope === "test") box.append(make("span", "dark outline: held-out test tiles, the ones that the headline is about"));
    }
    function show(t) {
      if (t === chosen) return;
      chosen = t; draw();
      if (!t) { tip.style.display = "none"; return; }
      const lines = [t.tile, [t.category, t.split].filter(Boolean).join(", "),
        `PSNR ${number(t.psnr_db)} dB, bicubic ${number(t.bicubic_psnr_db)} dB`, `gain ${number(t.gain_db, 2, true)} dB`,
        `SSIM ${number(t.ssim, 3)}, LR consistency ${number(t.lr_consistency, 4)}`, `valid ${number(t.valid_fraction * 100, 0)} %`];
      tip.textContent = lines.filter(Boolean).join("\n");
      tip.style.display = "block";
      const unit = canvas.clientWidth / overview.width;
      const x = (t.col - overview.left + 1) * unit, y = (t.row - overview.top) * unit;
      tip.style.left = `${Math.max(4, x + tip.offsetWidth + 8 > canvas.clientWidth ? x - unit - tip.offsetWidth - 4 : x + 4)}px`;
      tip.style.top = `${Math.max(4, Math.min(y, canvas.clientHeight - tip.offsetHeight - 4))}px`;
    }
    canvas.addEventListener("mousemove", (event) => {
      const unit = canvas.clientWidth / overview.width;
      show(places.get(`${Math.floor(event.offsetY / unit + overview.top)},${Math.floor(event.offsetX / unit + overview.left)}`) ?? null);
    });
    canvas.addEventListener("mouseleave", () => show(null));
    canvas.addEventListener("blur", () => show(null));
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const from = chosen ?? tiles[0];
      const next = chosen ? places.get(`${from.row + step[0]},${from.col + step[1]}`) : from;
      if (next) show(next);
    });
    select.addEventListener("change", draw);
    photo.addEventListener("change", draw);
    window.addEventListener("resize", draw);
    image.onload = draw;
    image.src = overview.image;
    draw();
  }

  const roundUp = (raw) => {
    const power = 10 ** Math.floor(Math.log10(raw));
    return power * [1, 2, 5, 10].find((f) => f * power >= raw * 0.999);
  };

  function histogram() {
    const scoped = tiles.filter((t) => summary.scope !== "test" || t.split === "test");
    const gains = scoped.map((t) => t.gain_db).filter((v) => v !== null);
    if (!gains.length) { $("histogram").append(make("p", "No bicubic to compare with.", { class: "quiet" })); return; }
    // Bins of a round width with an edge at zero, so that no bin mixes losses and gains.
    const lowest = Math.min(0, ...gains), highest = Math.max(0, ...gains);
    const wanted = Math.min(40, Math.max(8, Math.ceil(Math.sqrt(gains.length) * 1.5)));
    const width = roundUp(Math.max(highest - lowest, 0.01) / wanted);
    const first = Math.floor(lowest / width), count = Math.max(1, Math.floor(highest / width) + 1 - first);
    const low = first * width, bins = new Array(count).fill(0);
    for (const g of gains) bins[Math.floor(g / width) - first] += 1;
    const W = Math.max(340, Math.min(900, $("histogram").clientWidth)), H = 240, left = 40, bottom = 44, top = 14, most = Math.max(...bins);
    const x = (v) => left + ((v - low) / (width * count)) * (W - left - 28), y = (n) => H - bottom - (n / most) * (H - bottom - top);
    const svgMake = (tag, attributes, text) => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      if (text !== undefined) element.textContent = text;
      return element;
    };
    const svg = svgMake("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `Histogram of the gain of ${gains.length} tiles, from ${number(Math.min(...gains))} to ${number(Math.max(...gains))} dB` });
    bins.forEach((n, i) => {
      const from = low + i * width, bar = svgMake("rect", { x: x(from) + 0.5, y: y(n), width: Math.max(1, x(from + width) - x(from) - 1), height: H - bottom - y(n), fill: from + width / 2 < 0 ? "#c56a1f" : "#2b83ba" });
      bar.append(svgMake("title", {}, `${number(from, 2, true)} to ${number(from + width, 2, true)} dB: ${n} tiles`));
      svg.append(bar);
    });
    svg.append(svgMake("line", { x1: x(0), x2: x(0), y1: top, y2: H - bottom, stroke: "currentColor", "stroke-dasharray": "3 3" }));
    const every = Math.ceil((count * 60) / W);
    for (let i = 0; i <= count; i += 1) {
      if ((first + i) % every) continue;
      const v = (first + i) * width, digits = Math.max(0, -Math.floor(Math.log10(width * every)));
      svg.append(svgMake("text", { x: x(v), y: H - 27, "text-anchor": "middle" }, number(v, digits, true)));
    }
    svg.append(svgMake("text", { x: left - 6, y: y(most) + 4, "text-anchor": "end" }, String(most)), svgMake("text", { x: W - 14, y: H - 8, "text-anchor": "end" }, "gain in dB"));
    $("histogram").append(svg);
  }

  function gallery() {
    const byName = new Map(tiles.map((t) => [t.tile, t]));
    for (const { rank, tile, images } of pictures) {
      const t = byName.get(tile), place = make("div", undefined, { class: "place" });
      const title = make("h3", `${rank[0].toUpperCase()}${rank.slice(1)} `);
      title.append(make("span", `${tile}${t.category ? `, ${t.category}` : ""} · gain ${number(t.gain_db, 2, true)} dB · PSNR ${number(t.psnr_db)} dB · bicubic ${number(t.bicubic_psnr_db)} dB`));
      const row = make("div", undefined, { class: "row" });
      for (const [name, source] of Object.entries(images)) {
        const figure = make("figure");
        figure.append(make("img", undefined, { src: source, alt: `${name} of tile ${tile}` }), make("figcaption", name));
        row.append(figure);
      }
      place.append(title, row);
      $("pictures").append(place);
    }
  }

  function groups() {
    const head = make("tr");
    for (const name of ["", "tiles", "PSNR", "bicubic", "gain", "SSIM", "bicubic SSIM", "worse"]) head.append(make("th", name, { scope: "col" }));
    const top = make("thead"); top.append(head);
    const body = make("tbody");
    for (const part of [summary.by_category, summary.by_split]) {
      for (const [name, s] of Object.entries(part)) {
        const line = make("tr");
        line.append(make("th", part === summary.by_split ? `split: ${name}` : name, { scope: "row" }));
        for (const text of [String(s.tiles), number(s.psnr_db), number(s.bicubic_psnr_db)]) line.append(make("td", text));
        line.append(make("td", number(s.gain_db, 2, true), s.gain_db < 0 ? { class: "minus" } : {}));
        line.append(make("td", number(s.ssim, 3)), make("td", number(s.bicubic_ssim, 3)), make("td", s.share_worse === null ? "–" : `${Math.round(s.share_worse * 100)} %`));
        body.append(line);
      }
    }
    $("groups").append(top, body);
    for (const note of summary.notes) $("notes").append(make("li", note));
  }

  headline(); map(); histogram(); gallery(); groups();
})();
