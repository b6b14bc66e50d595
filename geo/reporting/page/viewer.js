// One tile: two pictures under a slider, all of them side by side, and its numbers.
const ORDER = ["LR", "bicubic", "SR", "other", "aerial", "SR error", "bicubic error", "other error", "labels", "aerial map", "SR map", "bicubic map", "other map"];
const TOLD = { LR: "satellite image", aerial: "aerial image", other: OTHER, "other error": `${OTHER} error`, "aerial map": "map of aerial image", "SR map": "map of SR", "bicubic map": "map of bicubic", "other map": `map of ${OTHER}` };
const pictureName = (name) => TOLD[name] ?? name;

function startViewer() {
  const byTile = new Map(DATA.pictures.map((entry) => [entry.tile, entry]));
  const indexes = new Map();
  for (let i = 0; byTile.size && i < COUNT; i += 1) if (byTile.has(nameOf(i))) indexes.set(nameOf(i), i);
  const entries = DATA.pictures.filter((entry) => indexes.has(entry.tile));
  const sides = { left: "bicubic", right: "SR" };

  function show() {
    const i = state.chosen, entry = byTile.get(nameOf(i));
    $("viewer-title").textContent = `Tile ${nameOf(i)}`;
    $("viewer-rank").textContent = [entry && placeOf(entry), valueOf("category", i), gainOf(i)].filter(Boolean).join(" · ");
    $("swipe-part").hidden = !entry;
    $("side-by-side").classList.toggle("bare", !entry);
    $("no-pictures").hidden = Boolean(entry);
    if (!entry) $("no-pictures").textContent = entries.length
      ? `No pictures of this tile: to stay small, a report keeps those of ${entries.length} of ${counted(COUNT)}. The map marks them by circles; Previous and Next go to them.`
      : "This report has no pictures of tiles.";
    if (entry) { fillSides(entry); showSides(entry); }
    showStrip(entry);
    showFacts(i);
    for (const button of $("ranks").querySelectorAll("button")) button.setAttribute("aria-current", String(button.dataset.tile === nameOf(i)));
  }
  const gainOf = (i) => (COLUMNS.has("gain_db") ? `gain ${writeScore("gain_db", valueOf("gain_db", i))}` : "");
  function placeOf(entry) {
    const same = entries.filter(({ rank }) => rank === entry.rank);
    return `${entry.rank}, ${same.indexOf(entry) + 1} of ${same.length}`;
  }

  function fillSides(entry) {
    const names = ORDER.filter((name) => entry.images[name]);
    // Without bicubic or reference: what there is.
    if (!names.includes(sides.left)) sides.left = names.find((n) => n !== sides.right) ?? names[0];
    if (!names.includes(sides.right)) sides.right = names.find((n) => n !== sides.left) ?? names[0];
    for (const side of ["left", "right"]) {
      $(side).replaceChildren(...names.map((name) => make("option", pictureName(name), { value: name })));
      $(side).value = sides[side];
    }
  }
  function showSides(entry) {
    for (const side of ["left", "right"]) {
      const image = $(`${side}-image`), name = sides[side];
      image.src = entry.images[name];
      image.alt = `${pictureName(name)} of tile ${entry.tile}`;
      $(`${side}-tag`).textContent = pictureName(name);
    }
    slide();
  }
  function slide() {
    const at = Number($("slider").value);
    $("left-image").style.clipPath = `inset(0 ${100 - at}% 0 0)`;
    $("divider").style.left = `${at}%`;
    $("slider").setAttribute("aria-valuetext", `${pictureName(sides.left)} on the left ${at} %, ${pictureName(sides.right)} on the rest`);
  }

  function showStrip(entry) {
    $("strip").replaceChildren();
    $("strip-note").textContent = "";
    $("strip-legend").hidden = true;
    if (!entry) return;
    $("strip").append(...figuresOf(entry));
    $("strip-note").textContent = noteOf(entry);
    showLegend(entry);
  }

  /** Scores of the tile, those of bicubic below, and the medians of the headline's tiles. */
  function showFacts(i) {
    const names = SCORED.filter((n) => !scoreOf(n).who && (COLUMNS.has(`bicubic_${n}`) || n === "gain_db"));
    const head = make("tr"), top = make("thead"), body = make("tbody");
    for (const text of ["", ...names.map(titleOf)]) head.append(make("th", text, { scope: "col" }));
    top.append(head);
    const whos = [["SR", ""], ["bicubic", "bicubic_"], [OTHER, "other_"]].filter(([, prefix]) => names.some((n) => COLUMNS.has(prefix + n)));
    const line = (title, write) => {
      const row = make("tr");
      row.append(make("th", title, { scope: "row" }), ...names.map((n) => make("td", write(n))));
      body.append(row);
    };
    for (const [who, prefix] of whos) line(who, (n) => (COLUMNS.has(prefix + n) ? writeScore(n, valueOf(prefix + n, i), false) : ""));
    line("SR, median of tiles", (n) => writeScore(n, medianOf(n), false));
    $("facts").replaceChildren(top, body);
    const rest = [...NAMED, ...SCORED].filter((n) => !scoreOf(n).who && !names.includes(n) && valueOf(n, i) !== null);
    $("provenance").textContent = rest.map((n) => `${scoreOf(n).label}: ${writeScore(n, valueOf(n, i))}`).join(" · ");
  }

  function step(by) {
    if (!entries.length) return;
    const at = entries.findIndex((entry) => entry.tile === nameOf(state.chosen));
    const next = at < 0 ? (by > 0 ? 0 : entries.length - 1) : (at + by + entries.length) % entries.length;
    choose(indexes.get(entries[next].tile));
  }
  function listRanks() {
    for (const rank of new Set(entries.map((entry) => entry.rank))) {
      const group = make("div", null, { role: "group", "aria-label": rank });
      group.append(make("span", rank));
      for (const entry of entries.filter((e) => e.rank === rank)) {
        const i = indexes.get(entry.tile), button = make("button", null, { type: "button", title: `${entry.tile} ${gainOf(i)}`, "aria-label": `Tile ${entry.tile}, ${placeOf(entry)}` });
        button.dataset.tile = entry.tile;
        button.append(make("img", null, { src: entry.images.SR, alt: "" }));
        button.addEventListener("click", () => choose(i));
        group.append(button);
      }
      $("ranks").append(group);
    }
  }

  for (const side of ["left", "right"]) $(side).addEventListener("change", () => {
    sides[side] = $(side).value;
    showSides(byTile.get(nameOf(state.chosen)));
  });
  $("slider").addEventListener("input", slide);
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(search|text)$/.test(event.target.type ?? "") || event.target.tagName === "SELECT") return;
    if (event.key === "n") step(1);
    if (event.key === "p") step(-1);
  });
  for (const id of ["previous", "next"]) $(id).disabled = entries.length === 0;
  listRanks();
  on("chosen", show);
  // The median tile first: it is what one gets.
  const first = entries.find((entry) => entry.rank === "median") ?? entries[0];
  choose(first ? indexes.get(first.tile) : 0);
}

function figuresOf(entry) {
  return ORDER.filter((name) => entry.images[name]).map((name) => {
    const figure = make("figure");
    figure.append(make("img", null, { src: entry.images[name], alt: `${pictureName(name)} of tile ${entry.tile}` }), make("figcaption", pictureName(name)));
    if (name.endsWith("error")) {
      const bar = make("span", null, { class: "ramp" }), scale = make("span", null, { class: "error-scale" });
      bar.style.background = gradient(VIRIDIS);
      scale.append(make("span", "0"), bar, make("span", `${fixed(entry.error_dn, 0)} DN`));
      figure.append(scale);
    }
    return figure;
  });
}
const noteOf = (entry) => ["One colour stretch for all.", entry.error_dn !== null && "Errors: root mean square over bands, one scale for all of a tile; the brightest 2 % share the last colour."].filter(Boolean).join(" ");

/** On paper nobody can click: the first tiles of each rank stand there. */
function printSamples() {
  const box = $("samples");
  box.replaceChildren(make("h2", "Best, median and worst tiles"));
  for (const rank of new Set(DATA.pictures.map((entry) => entry.rank))) {
    for (const entry of DATA.pictures.filter((e) => e.rank === rank).slice(0, 2)) {
      const part = make("div", null, { class: "sample" }), strip = make("div", null, { class: "strip" });
      strip.append(...figuresOf(entry));
      part.append(make("h3", `${rank}: tile ${entry.tile}`), strip);
      box.append(part);
    }
  }
}
