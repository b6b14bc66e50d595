// The first screen: the sentence, the figures, the cautions; and the tables of numbers.
function showHeadline() {
  $("headline").textContent = DATA.headline.replace(/(^|\s)-(?=\d)/g, `$1${MINUS}`);
  const gap = SUMMARY.gap_days;
  $("about").textContent = ["Super-resolution report", SUMMARY.model && `model ${SUMMARY.model}`,
    SUMMARY.reference && `reference ${SUMMARY.reference}`,
    gap !== null && gap !== undefined && `${fixed(gap, 1)} days apart`].filter(Boolean).join(" · ");
  for (const text of DATA.cautions) $("cautions").append(make("li", text));
  for (const [name, value, note] of figures()) {
    const card = make("div");
    card.append(make("dt", name), make("dd", value), make("dd", note, { class: "note" }));
    $("figures").append(card);
  }
}

function figures() {
  const s = SUMMARY, interval = s.gain_db_interval, reference = s.psnr_db !== null || s.identical_tiles > 0;
  const against = (text) => `bicubic ${text}`;
  const cards = [];
  if (s.gain_db !== null) cards.push(["Gain over bicubic", `${fixed(s.gain_db, 2, true)} dB`,
    interval ? `95 %: ${fixed(interval[0], 2, true)} to ${fixed(interval[1], 2, true)} dB` : "no interval"]);
  if (s.share_worse !== null) cards.push(["Tiles that lose", percent(s.share_worse), `of ${counted(s.tiles)}`]);
  if (reference) {
    cards.push(["PSNR", `${fixed(s.psnr_db)} dB`, against(`${fixed(s.bicubic_psnr_db)} dB`)]);
    cards.push(["SSIM", fixed(s.ssim, 3), against(fixed(s.bicubic_ssim, 3))]);
  }
  if (s.lr_consistency !== null) cards.push(["LR consistency", fixed(s.lr_consistency, 4), `${against(fixed(s.bicubic_lr_consistency, 4))}; lower is better`]);
  if (COLUMNS.has("detail")) cards.push(["Detail", percent(overall("", "detail") ?? medianOf("detail")), `of the aerial image's; ${against(percent(overall("bicubic_", "detail") ?? medianOf("bicubic_detail")))}`]);
  if (COLUMNS.has("uncertainty")) cards.push(["Uncertainty", writeScore("uncertainty", medianOf("uncertainty")), "median of tiles"]);
  cards.push(["Tiles", s.tiles_all.toLocaleString("en"), reference ? `${s.tiles.toLocaleString("en")} in the figures here` : "none with a reference"]);
  return cards;
}
const medianOf = (name) => (COLUMNS.has(name) ? quantile(sortedValues(name, true), 0.5) : null);

/** Every score for SR, bicubic and the other raster: over all tiles of the headline, and of the median tile. */
function showScores() {
  const hasOther = SCORED.some((n) => n.startsWith("other_"));
  const whos = [["", "SR"], ["bicubic_", "bicubic"], ...(hasOther ? [["other_", OTHER]] : [])];
  // Maps have a part of their own.
  const names = SCORED.filter((n) => !scoreOf(n).who && !n.startsWith("fcn_") && SCORED.includes(`bicubic_${n}`) || n === "gain_db");
  const rows = names.map((name) => {
    const told = whos.map(([prefix]) => [overall(prefix, name), medianOf(prefix + name)]);
    return [name, told, verdict(name, told, whos)];
  });
  const head = make("tr");
  for (const text of ["Score", ...whos.map(([, who]) => who), ...whos.map(([, who]) => `median, ${who}`), "better"]) head.append(make("th", text, { scope: "col" }));
  const top = make("thead"), body = make("tbody");
  top.append(head);
  for (const [name, told, better] of rows) {
    const line = make("tr"), title = make("th", titleOf(name), { scope: "row" });
    title.append(make("small", [scoreOf(name).about, goodEnd(name)].filter(Boolean).join("; ")));
    line.append(title);
    for (const part of [0, 1]) for (const pair of told) line.append(make("td", writeScore(name, pair[part], false)));
    line.append(make("td", better));
    body.append(line);
  }
  $("scores").append(top, body);
  const seams = SUMMARY.seams;
  $("scores-note").textContent = ["PSNR is pooled over tiles by summed errors; other scores are means of tiles.",
    seams && typeof seams.score === "number" && `Seams along block edges: ${fixed(seams.score, 3)}${seams.blocks_px ? `, blocks of ${[seams.blocks_px].flat().join(" x ")} px` : ""}.`].filter(Boolean).join(" ");
}
function overall(prefix, name) {
  const told = SUMMARY.scores?.[name]?.[{ "": "sr", bicubic_: "bicubic", other_: "other" }[prefix]];
  return told?.pooled ?? told?.mean ?? SUMMARY[prefix + name] ?? null;
}
function verdict(name, told, whos) {
  const good = scoreOf(name).good, known = told.map(([all, median], k) => [all ?? median, whos[k][1]]).filter(([v]) => v !== null);
  if (known.length < 2) return "";
  const worth = ([v]) => (good === "high" ? v : good === "low" ? -v : name === "detail" ? -Math.abs(v - 1) : NaN);
  const ranked = known.sort((a, b) => worth(b) - worth(a));
  if (Number.isNaN(worth(ranked[0]))) return "";
  return worth(ranked[0]) === worth(ranked[1]) ? "equal" : ranked[0][1];
}

/** Pooled numbers of groups of tiles. */
function showGroups() {
  const parts = [["by_split", "split"], ["by_category", "land cover"], ["by_gap", "days apart"], ["by_registration_residual", "registration residual"]];
  const body = make("tbody"), head = make("tr"), top = make("thead");
  for (const name of ["", "tiles", "gain, dB", "95 % interval", "lose", "PSNR, dB", "bicubic", "SSIM", "bicubic"]) head.append(make("th", name, { scope: "col" }));
  top.append(head);
  for (const [part, title] of parts) {
    const groups = Object.entries(SUMMARY[part] ?? {});
    if (!groups.length) continue;
    const heading = make("tr", null, { class: "group" });
    heading.append(make("th", `By ${title}`, { colspan: 9, scope: "rowgroup" }));
    body.append(heading);
    for (const [name, s] of groups) {
      const line = make("tr"), range = s.gain_db_interval;
      line.append(make("th", name, { scope: "row" }));
      for (const text of [s.tiles, fixed(s.gain_db, 2, true), range ? `${fixed(range[0], 2, true)} to ${fixed(range[1], 2, true)}` : "–",
        percent(s.share_worse), fixed(s.psnr_db), fixed(s.bicubic_psnr_db), fixed(s.ssim, 3), fixed(s.bicubic_ssim, 3)]) line.append(make("td", text));
      if (s.gain_db < 0) line.children[2].classList.add("minus");
      body.append(line);
    }
  }
  $("groups").append(top, body);
  $("groups-part").hidden = !body.children.length;
}

function showMethod() {
  for (const note of SUMMARY.notes ?? []) $("notes").append(make("li", note));
  if (DATA.tiles.left_out.length) $("notes").append(make("li", `Left out of this page to keep it small; in tiles.parquet: ${DATA.tiles.left_out.join(", ")}.`));
  const plain = (v) => (Array.isArray(v) ? v.join(", ") : typeof v === "number" && !Number.isInteger(v) ? fixed(v, 4) : String(v));
  for (const name of ["scale", "bands", "data_range", "crop_px", "mask", "model", "model_version", "store_version", "reference", "other", "other_model"]) {
    const value = SUMMARY[name];
    if (value === null || value === undefined || value === "" || typeof value === "boolean") continue;
    const row = make("div");
    row.append(make("dt", name.replaceAll("_", " ")), make("dd", plain(value)));
    $("settings").append(row);
  }
}
