// Two scores against each other, a point for each tile.
function startScatter() {
  const canvas = $("scatter"), across = $("across"), up = $("up");
  let frame = null, hovered = -1;
  fillScores(across, SCORED);
  fillScores(up, SCORED);
  across.value = ["bicubic_psnr_db", "bicubic_lr_consistency", "psnr_db"].find((n) => COLUMNS.has(n)) ?? SCORED[0];
  up.value = ["gain_db", "lr_consistency"].find((n) => COLUMNS.has(n) && n !== across.value) ?? SCORED[1] ?? SCORED[0];

  /** Limits that leave the outermost thousandths outside. */
  function limits(name) {
    const values = sortedValues(name);
    let low = quantile(values, 0.001) ?? 0, high = quantile(values, 0.999) ?? 1;
    if (scoreOf(name).zero) { low = Math.min(low, 0); high = Math.max(high, 0); }
    const margin = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
    return [low - margin, high + margin];
  }
  function draw() {
    const size = prepare(canvas, 280), { context } = size;
    context.clearRect(0, 0, size.width, size.height);
    frame = frameOf(size, limits(across.value), limits(up.value));
    drawAxes(context, frame, titleOf(across.value), "");
    const x = COLUMNS.get(across.value).values, y = COLUMNS.get(up.value).values;
    context.save();
    context.beginPath();
    context.rect(frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top);
    context.clip();
    guide(context);
    context.drawImage(points(x, y), 0, 0, size.width, size.height);
    for (const [i, radius] of [[hovered, 6], [state.chosen, 7]]) {
      if (i < 0) continue;
      context.beginPath();
      context.arc(frame.x(x[i]), frame.y(y[i]), radius, 0, 7);
      context.lineWidth = 2;
      context.strokeStyle = ink("--ink");
      context.stroke();
    }
    context.restore();
  }
  /** All points as one picture: fifty thousand squares drawn one by one would keep a click waiting. */
  function points(x, y) {
    const layer = document.createElement("canvas"), { width, height } = canvas, ratio = width / canvas.clientWidth;
    layer.width = width;
    layer.height = height;
    const context = layer.getContext("2d"), image = context.createImageData(width, height), { data } = image;
    const side = Math.max(1, Math.round(ratio * (COUNT > 5000 ? 1.5 : COUNT > 500 ? 2.5 : 4)));
    for (const pass of [0, 1]) {
      const [red, green, blue] = [1, 3, 5].map((at) => parseInt(ink(pass ? "--accent" : "--quiet").slice(at, at + 2), 16));
      const strength = (pass ? 0.75 : 0.25) * (COUNT > 5000 ? 0.6 : 1);
      for (let i = 0; i < COUNT; i += 1) {
        if ((kept[i] && inScope(i) ? 1 : 0) !== pass) continue;
        const left = Math.round(frame.x(x[i]) * ratio - side / 2), top = Math.round(frame.y(y[i]) * ratio - side / 2);
        if (!(left >= 0 && top >= 0 && left + side <= width && top + side <= height)) continue; // outside, or unknown
        for (let r = top; r < top + side; r += 1) for (let c = left; c < left + side; c += 1) {
          const at = 4 * (r * width + c);
          data[at] = red; data[at + 1] = green; data[at + 2] = blue;
          data[at + 3] += (255 - data[at + 3]) * strength;
        }
      }
    }
    context.putImageData(image, 0, 0);
    return layer;
  }
  /** Zero where it matters, and the line of equals where both axes have one score. */
  function guide(context) {
    const [a, b] = [across.value, up.value].map(scoreOf);
    context.strokeStyle = ink("--ink");
    context.lineWidth = 1.25;
    context.setLineDash([5, 4]);
    context.beginPath();
    if (b.zero) { context.moveTo(frame.left, frame.y(0)); context.lineTo(frame.right, frame.y(0)); }
    if (a.zero) { context.moveTo(frame.x(0), frame.top); context.lineTo(frame.x(0), frame.bottom); }
    if (a.base === b.base && a.who !== b.who) {
      const [low, high] = [Math.max(frame.xs[0], frame.ys[0]), Math.min(frame.xs[1], frame.ys[1])];
      context.moveTo(frame.x(low), frame.y(low));
      context.lineTo(frame.x(high), frame.y(high));
    }
    context.stroke();
    context.setLineDash([]);
  }
  function nearest(px, py) {
    const x = COLUMNS.get(across.value).values, y = COLUMNS.get(up.value).values;
    let best = -1, closest = 12 ** 2;
    for (let i = 0; i < COUNT; i += 1) {
      const far = (frame.x(x[i]) - px) ** 2 + (frame.y(y[i]) - py) ** 2;
      if (far < closest && kept[i]) { closest = far; best = i; }
    }
    return best;
  }
  function explain() {
    const line = (name, i) => `${scoreOf(name).label} ${writeScore(name, valueOf(name, i))}`;
    $("scatter-told").textContent = hovered >= 0
      ? `${nameOf(hovered)}: ${line(across.value, hovered)}, ${line(up.value, hovered)}`
      : `A point for each tile${TEST ? "; grey ones are not of held-out test ground" : ""}. Click one to look at it.`;
  }
  const drawSoon = onceAFrame(draw);
  const hover = (i) => { if (i !== hovered) { hovered = i; explain(); drawSoon(); } };
  canvas.addEventListener("pointermove", (event) => hover(nearest(event.offsetX, event.offsetY)));
  canvas.addEventListener("pointerleave", () => hover(-1));
  canvas.addEventListener("click", (event) => choose(nearest(event.offsetX, event.offsetY)));
  for (const select of [across, up]) select.addEventListener("change", () => { hovered = -1; explain(); draw(); });
  on("chosen", drawSoon);
  on("filter", drawSoon);
  on("paper", draw);
  new ResizeObserver(drawSoon).observe(canvas.parentElement);
  explain();
  draw();
}
