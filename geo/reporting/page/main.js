// Puts the parts together.

/** Scores to choose from, in groups: SR, then bicubic, then others. */
function fillScores(select, names) {
  const groups = new Map();
  for (const name of names) {
    const who = COLUMNS.get(name).names ? "the tile" : scoreOf(name).who || "SR";
    if (!groups.has(who)) groups.set(who, make("optgroup", null, { label: who }));
    groups.get(who).append(make("option", titleOf(name), { value: name }));
  }
  select.append(...groups.values());
}

showHeadline();
showScores();
showUse();
showGroups();
showMethod();
fillScores($("score"), [...SCORED, ...NAMED]);
$("score").value = state.score;
$("score").addEventListener("change", () => setScore($("score").value));
startViewer();
startMap();
startHistogram();
startScatter();
startTable();
tell("chosen");

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => tell("paper"));
let wasOpen = false;
window.addEventListener("beforeprint", () => {
  onPaper = true;
  wasOpen = $("method").open;
  $("method").open = true;
  printSamples();
  tell("paper");
});
window.addEventListener("afterprint", () => {
  onPaper = false;
  $("method").open = wasOpen;
  $("samples").replaceChildren();
  tell("paper");
});
