// The page: one episode at a time, all of it on one scrubber.
const $ = (id) => document.getElementById(id);
const read = (id) => JSON.parse($(id).textContent);
const SET = read("set");
const AGES = ["#1f6fd1", "#c2410c", "#2e8b57", "#9b59b6", "#b8860b", "#008b8b", "#d63384", "#6c757d"];
const view = { episode: null, frame: 0, playing: false, drawn: Promise.resolve(), images: [], plots: [], turn: 0 };
window.view = view;

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function showSet() {
  const shown = SET.episodes.length === SET.of ? `${SET.of} episode${SET.of === 1 ? "" : "s"}` : `${SET.episodes.length} of ${SET.of} episodes`;
  const every = SET.every > 1 ? `, one image in ${SET.every} is shown` : "";
  $("about").textContent = `LeRobot ${SET.version}, robot ${SET.robot || "not named"}, ${SET.fps} frames/s, ${shown}${every}`;
  if (SET.findings.length) {
    const box = $("of-set");
    box.hidden = false;
    box.querySelector("summary").textContent = `${SET.findings.length} finding${SET.findings.length > 1 ? "s" : ""} about the whole set`;
    for (const f of SET.findings) box.querySelector("ul").append(element("li", `${f.says}. ${f.change}`, f.level));
  }
  for (const number of SET.episodes) {
    const found = read(`episode-${number}`);
    const mark = found.findings.some((f) => f.level === "error") ? " ✗" : found.findings.length ? " !" : "";
    const option = element("option", `${number}${mark}  ${found.task}`);
    option.value = number;
    $("episode").append(option);
  }
}

function showFindings(findings) {
  const list = $("findings");
  list.replaceChildren();
  if (!SET.checked) return;
  if (!findings.length) list.append(element("li", "check found nothing wrong in this episode", "none"));
  for (const f of findings) {
    const line = element("li", undefined, f.level);
    const at = f.frame === null ? "" : `frame ${f.frame}: `;
    const jump = element("button", `${at}${f.says}. ${f.change}`);
    jump.type = "button";
    jump.onclick = () => { play(false); go(f.frame || 0); };
    line.append(jump);
    list.append(line);
  }
}

function showLegend(flags) {
  const legend = $("legend");
  legend.replaceChildren();
  const entry = (paint, text) => {
    const box = element("i");
    box.style.background = `var(--${paint})`;
    const line = element("span");
    line.append(box, text);
    legend.append(line);
  };
  for (const source of new Set(flags.control_source || [])) entry(source || "nobody", source || "nobody in control");
  if ((flags.intervention || []).includes(1)) entry("action", "intervention");
  if ((flags.guard_level || []).some((v) => v)) entry("guard", "guard acted");
  if ((flags.frame_valid || []).includes(0)) entry("invalid", "invalid frame");
}

function showEpisode(number) {
  play(false);
  const episode = read(`episode-${number}`);
  view.episode = episode;
  $("episode").value = number;
  $("task").textContent = episode.task || "no task";
  $("outcome").textContent = episode.problem || { true: "success", false: "failure" }[episode.success] || "not judged";
  $("frame").max = episode.length - 1;
  view.images = SET.cameras.map((_, c) => read(`images-${number}-${c}`));
  view.painted = [];
  $("cameras").replaceChildren(...SET.cameras.map((camera) => {
    const figure = element("figure");
    figure.append(element("canvas"), element("figcaption", camera));
    return figure;
  }));
  showFindings(episode.findings);
  showLegend(episode.flags);
  makePlots(episode);
  draw();
  go(0);
}

function makePlots(episode) {
  const ages = Object.keys(episode.ages);
  const all = episode.plots.map((plot) => ({ plot, names: ["proposed", "action", "state"].filter((n) => plot[n]) }));
  if (ages.length) {
    const colours = Object.fromEntries(ages.map((n, k) => [n, AGES[k % AGES.length]]));
    all.push({ plot: { name: "ages of samples, s", colours, ...episode.ages }, names: ages });
  }
  $("plots").replaceChildren();
  view.plots = all.map(({ plot, names }) => {
    const box = element("div", undefined, "plot"), head = element("p"), canvas = element("canvas");
    head.append(element("b", plot.name));
    const values = Object.fromEntries(names.slice().reverse().map((name) => {
      const value = element("span", "", plot.colours ? "" : name);
      if (plot.colours) value.style.color = plot.colours[name];
      head.append(value);
      return [name, value];
    }));
    box.append(head, canvas);
    $("plots").append(box);
    const seek = (event) => {
      if (event.buttons & 1) { play(false); go(Math.floor((event.offsetX / canvas.clientWidth) * episode.length)); }
    };
    canvas.onpointerdown = seek;
    canvas.onpointermove = seek;
    return { plot, names, canvas, values, lines: null };
  });
}

function draw() {
  if (!view.episode) return;
  drawBands($("bands"), view.episode, view.episode.findings);
  for (const p of view.plots) p.lines = drawLines(p.canvas, p.plot, p.names, view.episode.length, view.episode.flags);
}

// Puts the images of a frame on the canvases; resolves when they are there.
async function paint(k) {
  const turn = ++view.turn, place = Math.floor(k / SET.every);
  const figures = [...$("cameras").children];
  const pictures = await Promise.all(view.images.map(async (images) => {
    if (!images[place]) return null;
    const picture = new Image();
    picture.src = `data:image/jpeg;base64,${images[place]}`;
    await picture.decode();
    return picture;
  }));
  if (turn !== view.turn) return;  // another frame was asked for meanwhile
  pictures.forEach((picture, c) => {
    const canvas = figures[c].firstChild;
    figures[c].classList.toggle("lost", !picture);
    if (!picture) { canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height); return; }
    if (canvas.width !== picture.naturalWidth || canvas.height !== picture.naturalHeight) {
      canvas.width = picture.naturalWidth;
      canvas.height = picture.naturalHeight;
    }
    canvas.getContext("2d").drawImage(picture, 0, 0);
  });
}

function go(k) {
  const { episode } = view;
  view.frame = k = Math.min(Math.max(k, 0), episode.length - 1);
  $("frame").value = k;
  $("now").textContent = `frame ${k} of ${episode.length}, ${(k / SET.fps).toFixed(2)} s`;
  for (const p of view.plots) {
    drawCursor(p.canvas, p.lines, k, episode.length);
    for (const name of p.names) {
      const value = p.plot[name][k];
      p.values[name].textContent = `${name} ${shown(value)}`;
    }
  }
  view.drawn = paint(k);
  return view.drawn;
}

function shown(value) {
  if (value === null || value === undefined) return "–";
  return value && Math.abs(value) < 1e-3 ? value.toExponential(1) : Number(value.toPrecision(4));
}

function play(on) {
  view.playing = on;
  $("play").textContent = on ? "pause" : "play";
  if (!on) return;
  if (view.frame >= view.episode.length - 1) go(0);
  let begin = performance.now(), from = view.frame;
  const speed = () => Number($("speed").value);
  let before = speed();
  const tick = async (now) => {
    if (!view.playing) return;
    if (speed() !== before) { before = speed(); begin = now; from = view.frame; }
    const k = from + Math.floor(((now - begin) / 1000) * SET.fps * before);
    if (k !== view.frame) await go(k);
    if (k >= view.episode.length - 1) play(false);
    else requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}

function other(step) {
  const place = SET.episodes.indexOf(view.episode.episode) + step;
  if (place >= 0 && place < SET.episodes.length) showEpisode(SET.episodes[place]);
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const far = event.shiftKey ? 10 : 1;
  const does = {
    " ": () => play(!view.playing),
    ArrowLeft: () => { play(false); go(view.frame - far); },
    ArrowRight: () => { play(false); go(view.frame + far); },
    Home: () => { play(false); go(0); },
    End: () => { play(false); go(view.episode.length - 1); },
    ArrowUp: () => other(-1),
    ArrowDown: () => other(1),
  }[event.key];
  if (does) { event.preventDefault(); does(); }
});
$("episode").onchange = (event) => { showEpisode(Number(event.target.value)); event.target.blur(); };
$("frame").oninput = (event) => { play(false); go(Number(event.target.value)); };
$("play").onclick = (event) => { play(!view.playing); event.target.blur(); };
addEventListener("resize", () => { draw(); go(view.frame); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { draw(); go(view.frame); });
showSet();
showEpisode(SET.episodes[0]);
