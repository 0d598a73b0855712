"use strict";
// Drawing of lines and bands on canvases, in the colours of the page's style.
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function fitted(canvas, height) {
  const width = canvas.clientWidth || 300, ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.scale(ratio, ratio);
  return [pen, width];
}

// Stretches of equal values: [value, first, last].
function stretches(values) {
  const found = [];
  values.forEach((value, k) => {
    const last = found[found.length - 1];
    if (last && last[0] === value) last[2] = k;
    else found.push([value, k, k]);
  });
  return found;
}

function drawBands(canvas, episode, findings) {
  const [pen, width] = fitted(canvas, 34);
  const step = width / episode.length;
  const strip = (values, top, high, paint) => {
    for (const [value, first, last] of stretches(values)) {
      const ink = paint(value);
      if (ink) { pen.fillStyle = ink; pen.fillRect(first * step, top, (last - first + 1) * step, high); }
    }
  };
  const flags = episode.flags;
  if (flags.control_source) strip(flags.control_source, 0, 14, (v) => colour(v || "nobody"));
  if (flags.intervention) strip(flags.intervention, 14, 5, (v) => (v ? colour("action") : ""));
  if (flags.guard_level) strip(flags.guard_level, 20, 4, (v) => (v ? colour("guard") : ""));
  if (flags.frame_valid) strip(flags.frame_valid, 25, 5, (v) => (v ? "" : colour("invalid")));
  for (const finding of findings) {
    pen.fillStyle = colour(finding.level === "error" ? "bad" : "warn");
    const x = ((finding.frame || 0) + 0.5) * step;
    pen.beginPath(); pen.moveTo(x - 4, 34); pen.lineTo(x + 4, 34); pen.lineTo(x, 27); pen.fill();
  }
}

// The lines of one plot, once; the cursor is drawn over a copy of it.
function drawLines(canvas, plot, names, length, flags) {
  const [pen, width] = fitted(canvas, 84);
  const values = names.flatMap((n) => plot[n] || []).filter((v) => v !== null);
  let low = Math.min(...values), high = Math.max(...values);
  if (!values.length) [low, high] = [0, 1];
  if (high - low < 1e-9) [low, high] = [low - 0.5, high + 0.5];
  const x = (k) => ((k + 0.5) / length) * width;
  const y = (v) => 6 + (72 * (high - v)) / (high - low);
  if (flags.frame_valid) {
    pen.globalAlpha = 0.18; pen.fillStyle = colour("invalid");
    for (const [ok, a, b] of stretches(flags.frame_valid)) if (!ok) pen.fillRect(x(a - 0.5), 0, x(b + 0.5) - x(a - 0.5), 84);
    pen.globalAlpha = 1;
  }
  for (const name of names) {
    if (!plot[name]) continue;
    pen.strokeStyle = plot.colours ? plot.colours[name] : colour(name);
    pen.lineWidth = 1.5;
    pen.setLineDash(name === "proposed" ? [3, 3] : []);
    pen.beginPath();
    let down = false;
    plot[name].forEach((v, k) => {
      if (v === null) { down = false; return; }
      if (down) pen.lineTo(x(k), y(v)); else pen.moveTo(x(k), y(v));
      down = true;
    });
    pen.stroke();
  }
  pen.setLineDash([]);
  pen.fillStyle = colour("soft"); pen.font = "10px system-ui, sans-serif";
  pen.fillText(high.toPrecision(3), 2, 9); pen.fillText(low.toPrecision(3), 2, 83);
  return pen.getImageData(0, 0, canvas.width, canvas.height);
}

function drawCursor(canvas, lines, k, length) {
  const pen = canvas.getContext("2d");
  pen.putImageData(lines, 0, 0);
  const ratio = window.devicePixelRatio || 1;
  pen.fillStyle = colour("cursor");
  pen.fillRect(((k + 0.5) / length) * (canvas.width / ratio) - 0.5, 0, 1, 84);
}
