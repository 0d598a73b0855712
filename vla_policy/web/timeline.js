// The last minute as a small drawing: latency of chunks, age of the plan, and when the guard acted; the same in words.

const SPAN_MS = 60000;
const DRAW_MS = 250;
const OLD_MS = 1500; // after which nothing that was told is said to be so
const LEAST_S = 0.5; // the height is at least this much
const MOST_S = 3;    // and at most: a plan that nobody follows grows old without end

// place: a canvas. words: an element for the sentence.
export function makeTimeline(place, words) {
  let samples = [], newest = {};
  setInterval(draw, DRAW_MS);

  // s: a state. What is not known is a gap, not zero.
  function add(s) {
    const before = newest.acted ?? s.acted ?? {};
    const acted = Object.entries(s.acted ?? {}).filter(([name, count]) => count > (before[name] ?? 0)).map(([name]) => name);
    const fresh = s.chunk && s.chunk.number !== newest.chunk?.number ? s.chunk.latency_s : null;
    samples.push({ at: performance.now(), latency: fresh, age: s.level ? s.ages?.chunk ?? null : null, level: s.level, acted });
    newest = s;
  }

  function draw() {
    const now = performance.now();
    samples = samples.filter((sample) => now - sample.at < SPAN_MS);
    const ratio = devicePixelRatio, width = place.clientWidth * ratio, height = place.clientHeight * ratio;
    if (!width || document.hidden) return;
    if (place.width !== width || place.height !== height) { place.width = width; place.height = height; }
    const ink = place.getContext("2d"), paint = getComputedStyle(place);
    const colour = (name) => paint.getPropertyValue(`--${name}`);
    const top = Math.min(MOST_S, Math.max(LEAST_S, ...samples.map((sample) => Math.max(sample.latency ?? 0, sample.age ?? 0))));
    const x = (sample) => width * (1 - (now - sample.at) / SPAN_MS), y = (s) => height - 2 * ratio - (height - 4 * ratio) * Math.min(s, top) / top;
    ink.clearRect(0, 0, width, height);
    for (const sample of samples) {
      if (!sample.acted.length && sample.level === "PASS") continue;
      ink.fillStyle = colour(sample.level === "STOP" || !sample.level ? "bad" : sample.level === "PASS" && !sample.acted.length ? "line" : "warn");
      ink.fillRect(x(sample), height - (sample.acted.length ? 8 : 4) * ratio, 2 * ratio, height);
    }
    ink.lineWidth = 1.5 * ratio;
    ink.strokeStyle = colour("soft");
    ink.beginPath();
    let drawn = false;
    for (const sample of samples) {
      if (sample.age === null) { drawn = false; continue; }
      ink[drawn ? "lineTo" : "moveTo"](x(sample), y(sample.age));
      drawn = true;
    }
    ink.stroke();
    ink.fillStyle = colour("good");
    for (const sample of samples) if (sample.latency !== null) ink.fillRect(x(sample) - ratio, y(sample.latency) - ratio, 3 * ratio, 3 * ratio);
    tell(top);
  }

  function tell(top) {
    const counts = {};
    for (const sample of samples) for (const name of sample.acted) counts[name] = (counts[name] ?? 0) + 1;
    const acted = Object.entries(counts).map(([name, count]) => `${name} ${count}`).join(", ");
    const ages = Object.entries(newest.ages ?? {}).map(([name, age]) => `${name} ${age.toFixed(2)} s`).join(", ");
    const latency = newest.chunk ? `${newest.chunk.latency_s.toFixed(2)} s, of it inference ${newest.chunk.inference_s.toFixed(2)} s` : "no chunk yet";
    const last = samples.at(-1)?.at ?? 0, old = performance.now() - last;
    const text = old > OLD_MS ? "Nothing is heard of the robot." : `Latency ${latency}. Ages: ${ages || "unknown"}. Guard acted, last minute: ${acted || "never"}. The drawing is ${top.toFixed(1)} s high.`;
    if (words.textContent !== text) words.textContent = text;
  }

  return { add };
}
