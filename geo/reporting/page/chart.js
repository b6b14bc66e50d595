// A canvas with axes, for the plots.

/** Size a canvas to its place and give a context in CSS pixels. */
function prepare(canvas, height) {
  const ratio = Math.min(2, window.devicePixelRatio || 1), width = canvas.clientWidth;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = "12px system-ui, sans-serif";
  return { context, width, height };
}

/** Where values stand on a canvas between margins. */
function frameOf({ width, height }, [x0, x1], [y0, y1]) {
  const left = 52, right = 14, top = 12, bottom = 42;
  return {
    left, top, right: width - right, bottom: height - bottom,
    x: (v) => left + ((v - x0) / (x1 - x0)) * (width - left - right),
    y: (v) => height - bottom - ((v - y0) / (y1 - y0)) * (height - top - bottom),
    fromX: (px) => x0 + ((px - left) / (width - left - right)) * (x1 - x0),
    xs: [x0, x1], ys: [y0, y1],
  };
}

function drawAxes(context, frame, across, up) {
  context.strokeStyle = ink("--line");
  context.fillStyle = ink("--quiet");
  context.lineWidth = 1;
  const wide = ticksOf(...frame.xs, Math.max(3, (frame.right - frame.left) / 80)), high = ticksOf(...frame.ys, 5);
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const v of wide.ticks) context.fillText(fixed(v, wide.digits), frame.x(v), frame.bottom + 6);
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.beginPath();
  for (const v of high.ticks) {
    const y = Math.round(frame.y(v)) + 0.5;
    context.moveTo(frame.left, y);
    context.lineTo(frame.right, y);
    context.fillText(fixed(v, high.digits), frame.left - 6, y);
  }
  context.stroke();
  context.textBaseline = "alphabetic";
  context.fillText(across, frame.right, frame.bottom + 36);
  context.textAlign = "left";
  if (up) context.fillText(up, frame.left + 4, frame.top + 2);
}
