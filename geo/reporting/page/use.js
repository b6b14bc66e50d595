// Maps that a segmentation network makes of the images: their scores, their classes, their colours.
const USE = SUMMARY.use;
const WHOSE = { real: "aerial image", sr: "SR", bicubic: "bicubic", other: OTHER };
const HELD = [["against_labels", "labels"], ["against_real", "map of the aerial image"]];

function showUse() {
  $("use-part").hidden = !USE;
  if (!USE) return;
  $("use-sentence").textContent = DATA.use.sentence.replace(/(^|[\s(])-(?=\d)/g, `$1${MINUS}`);
  for (const text of DATA.use.cautions) $("use-cautions").append(make("li", text));
  const held = HELD.filter(([key]) => USE[key]);
  if (!held.length) return;
  $("use-scores").append(...tableOf(["Map of", "mean IoU", "accuracy", "mean accuracy"], held, (told) => Object.entries(told.images).map(([image, scores]) =>
    [make("th", WHOSE[image], { scope: "row" }), ...["mean_iou", "accuracy", "mean_accuracy"].map((name) => scoreCell(scores[name]))])));
  const whos = Object.keys(WHOSE).filter((who) => held.some(([key]) => USE[key].images[who]));
  const classes = USE.classes.map((name, k) => [name, k]);
  $("use-classes").append(...tableOf(["IoU of class", ...whos.map((who) => WHOSE[who])], held, (told) => classes
    .filter(([name]) => Object.values(told.images).some(({ iou }) => iou[name] !== null))
    .map(([name, k]) => {
      const title = make("th", null, { scope: "row" });
      title.append(square(k), name);
      return [title, ...whos.map((who) => make("td", told.images[who] ? fixed(told.images[who].iou[name], 3) : ""))];
    })));
  const covers = Object.entries(USE.by_category);
  if (covers.length) $("use-groups").append(...tableOf(["Mean IoU by land cover", "tiles", ...whos.map((who) => WHOSE[who])], held, (_, key) => covers
    .filter(([, told]) => told[key])
    .map(([name, { [key]: told }]) => [make("th", name, { scope: "row" }), make("td", told.tiles), ...whos.map((who) => make("td", told[who] ? fixed(told[who].mean_iou, 3) : ""))])));
  const { tiles, places } = USE[held[0][0]];
  $("use-note").textContent = `Segmenter ${USE.segmenter}${USE.labels ? `, labels ${USE.labels}` : ""}; ${counted(tiles)}, ${counted(places, "place")}. Small: 95 % intervals. Classes that do not occur are left out.`;
}

/** Head and body of a table with a part for each thing that maps are held against. */
function tableOf(titles, held, rowsOf) {
  const top = make("thead"), head = make("tr"), body = make("tbody");
  head.append(...titles.map((text) => make("th", text, { scope: "col" })));
  top.append(head);
  for (const [key, what] of held) {
    const heading = make("tr", null, { class: "group" });
    heading.append(make("th", `Against the ${what}`, { colspan: titles.length, scope: "rowgroup" }));
    body.append(heading);
    for (const cells of rowsOf(USE[key], key)) {
      const line = make("tr");
      line.append(...cells);
      body.append(line);
    }
  }
  return [top, body];
}
function scoreCell({ value, interval }) {
  const cell = make("td", fixed(value, 3));
  if (interval) cell.append(make("small", `${fixed(interval[0], 3)} to ${fixed(interval[1], 3)}`));
  return cell;
}
function square(k) {
  const found = make("i");
  found.style.background = css(DATA.use.colours[k]);
  return found;
}

/** Which colour is which class, below pictures of maps. */
function showLegend(entry) {
  const shown = Boolean(USE) && Object.keys(entry.images).some((name) => name.endsWith("map"));
  $("strip-legend").hidden = !shown;
  if (!shown || $("strip-legend").children.length) return;
  $("strip-legend").append(...USE.classes.map((name, k) => {
    const item = make("span");
    item.append(square(k), name);
    return item;
  }), make("span", "grey: no class, or not judged"));
}
