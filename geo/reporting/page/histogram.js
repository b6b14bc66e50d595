// How a score is spread: bins in the map's colours, each of which can be looked at and filtered by.
function startHistogram() {
  const canvas = $("histogram");
  let bins = [], frame = null, pointed = -1, width = 1, low = 0;

  function count() {
    const values = sortedValues(state.score, true), scale = scaleOf(state.score);
    bins = [];
    if (scale.names || !values.length) return;
    // The few beyond the hundredth and the last but hundredth are counted in the outermost bins.
    let from = quantile(values, 0.005), to = quantile(values, 0.995);
    if (scale.diverging) { from = Math.min(0, from); to = Math.max(0, to); }
    const wanted = Math.min(48, Math.max(8, Math.ceil(Math.sqrt(values.length) * 1.5)));
    // Bins of a round width with an edge at zero, so that no bin mixes losses and gains.
    width = roundUp(Math.max(to - from, Math.abs(to) * 1e-6, 1e-9) / wanted);
    const first = Math.floor(from / width + 1e-9);
    low = first * width;
    bins = new Array(Math.max(1, Math.floor(to / width + 1e-9) + 1 - first)).fill(0);
    for (const v of values) bins[Math.min(bins.length - 1, Math.max(0, Math.floor(v / width + 1e-9) - first))] += 1;
  }

  function draw() {
    const size = prepare(canvas, 280), { context } = size, most = Math.max(1, ...bins);
    context.clearRect(0, 0, size.width, size.height);
    if (!bins.length) return;
    frame = frameOf(size, [low, low + bins.length * width], [0, most * 1.06]);
    drawAxes(context, frame, titleOf(state.score), "tiles");
    const scale = scaleOf(state.score);
    bins.forEach((n, k) => {
      const x = frame.x(low + k * width), next = frame.x(low + (k + 1) * width), y = frame.y(n);
      context.fillStyle = css(scale.colour(low + (k + 0.5) * width));
      context.fillRect(x + 0.5, y, Math.max(1, next - x - 1), frame.bottom - y);
      context.strokeStyle = k === pointed ? ink("--ink") : ink("--quiet");
      context.lineWidth = k === pointed ? 2.5 : 0.75;
      if (n) context.strokeRect(x + 0.5, y, Math.max(1, next - x - 1), frame.bottom - y);
    });
    drawMarks(context, scale.diverging);
  }
  function drawMarks(context, diverging) {
    const median = medianOf(state.score), mark = (v, dash) => {
      context.beginPath();
      context.setLineDash(dash);
      context.moveTo(frame.x(v), frame.top);
      context.lineTo(frame.x(v), frame.bottom);
      context.strokeStyle = ink("--ink");
      context.lineWidth = 1.5;
      context.stroke();
      context.setLineDash([]);
    };
    context.fillStyle = ink("--ink");
    if (diverging) mark(0, []);
    mark(median, [4, 3]);
    const right = frame.x(median) > (frame.left + frame.right) / 2;
    context.textAlign = right ? "right" : "left";
    context.fillText(`median ${writeScore(state.score, median)}`, frame.x(median) + (right ? -5 : 5), frame.top + 4);
  }

  function tellBin() {
    const told = $("histogram-told"), digits = Math.max(0, Math.ceil(-Math.log10(width) + 1e-9));
    if (!bins.length) {
      told.textContent = scaleOf(state.score).names ? "Choose a score with numbers on the map to see how it is spread." : "No tile has this score.";
    } else if (pointed < 0) {
      const values = sortedValues(state.score, true), below = values.filter((v) => v < 0).length;
      told.textContent = scaleOf(state.score).diverging
        ? `${counted(below)} of ${values.length.toLocaleString("en")} lose (left of the line at 0). Click a bar, or press Enter on it, to list its tiles.`
        : `${counted(values.length)}. Click a bar, or press Enter on it, to list its tiles.`;
    } else {
      const from = low + pointed * width, sign = scaleOf(state.score).diverging;
      const ends = [pointed === 0 ? "less" : fixed(from, digits, sign), pointed === bins.length - 1 ? "more" : fixed(from + width, digits, sign)];
      told.textContent = `${ends.join(" to ")}: ${counted(bins[pointed])}`;
    }
  }
  function point(k) {
    if (k === pointed) return;
    pointed = k;
    draw();
    tellBin();
  }
  function pick(k) {
    if (k < 0 || k >= bins.length) return;
    const from = low + k * width;
    setFilter({ range: { name: state.score, low: k === 0 ? -Infinity : from - width * 1e-9, high: k === bins.length - 1 ? Infinity : from + width * (1 - 1e-9) } });
  }
  const binAt = (x) => (frame && x >= frame.left && x <= frame.right ? Math.min(bins.length - 1, Math.floor((frame.fromX(x) - low) / width)) : -1);
  canvas.addEventListener("pointermove", (event) => point(binAt(event.offsetX)));
  canvas.addEventListener("pointerleave", () => point(-1));
  canvas.addEventListener("blur", () => point(-1));
  canvas.addEventListener("click", (event) => pick(binAt(event.offsetX)));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) point(Math.min(bins.length - 1, Math.max(0, pointed < 0 && step < 0 ? bins.length - 1 : pointed + step)));
    else if (event.key === "Enter") pick(pointed);
    else return;
    event.preventDefault();
  });
  const renew = () => {
    pointed = -1;
    $("histogram-title").textContent = `${titleOf(state.score)} of ${TEST ? "held-out test tiles" : "tiles"}`;
    count();
    draw();
    tellBin();
  };
  on("score", renew);
  on("paper", draw);
  new ResizeObserver(onceAFrame(draw)).observe(canvas.parentElement);
  renew();
}
