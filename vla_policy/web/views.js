// The cameras' pictures: each drawn when it comes, and said to be old when none comes; over it what is planned.

import { openLink, page } from "./link.js";
import { drawOver } from "./overlay.js";

const OLD_MS = 1000;
const FEW_PX = 320; // pictures narrower than this are shown with their pixels

export function showViews(big, small, onState) {
  const views = page.cameras.map((name) => ({ name, extra: page.extra.includes(name), drawn: 0, period_ms: 0 }));
  let since = performance.now(), over = {};

  const link = openLink("/live", {
    onOpen() { since = performance.now(); tellVisible(); },
    onText(message) { if (message.state) { over = message.state; views.forEach(plan); onState(message.state); } },
    onBytes: draw,
  });
  const tellVisible = () => { since = performance.now(); link.send({ visible: !document.hidden }); };
  document.addEventListener("visibilitychange", tellVisible);

  async function draw(buffer) {
    const k = new Uint8Array(buffer, 0, 1)[0], view = views[k];
    try {
      const picture = await createImageBitmap(new Blob([new Uint8Array(buffer, 1)], { type: "image/jpeg" }));
      if (!view.figure) add(view);
      if (view.canvas.width !== picture.width || view.canvas.height !== picture.height) {
        view.canvas.width = picture.width;
        view.canvas.height = picture.height;
        view.canvas.className = picture.width < FEW_PX ? "few" : "";
        plan(view);
      }
      view.canvas.getContext("2d").drawImage(picture, 0, 0);
      picture.close();
      const now = performance.now();
      if (view.drawn) {
        const ms = now - view.drawn, goes_on = view.period_ms && Math.max(view.period_ms, ms) < OLD_MS;
        view.period_ms = goes_on ? view.period_ms + 0.1 * (ms - view.period_ms) : ms;
      }
      view.drawn = now;
    } catch (error) {
      console.warn("picture of " + view.name, error); // its age tells the person
    }
    link.send({ shown: k });
  }

  const plan = (view) => { if (view.over) drawOver(view.over, view.canvas, over.paths?.[view.name] ?? [], over.place?.[view.name]); };

  function add(view) {
    view.figure = document.createElement("figure");
    view.canvas = document.createElement("canvas");
    view.canvas.setAttribute("role", "img");
    view.canvas.setAttribute("aria-label", "camera " + view.name);
    view.caption = document.createElement("figcaption");
    view.over = document.createElement("canvas");
    view.over.setAttribute("aria-hidden", "true");
    view.over.className = "over";
    const screen = document.createElement("div");
    screen.append(view.canvas, view.over);
    view.figure.append(screen, view.caption);
    // A camera that looks at all of it, where there is one, is the large one.
    const first = views.find((other) => other.figure && other.extra) ?? views.find((other) => other.figure);
    for (const other of views) if (other.figure) (other === first ? big : small).append(other.figure);
  }

  function tellAges() {
    const now = performance.now();
    for (const view of views) {
      if (!view.figure) continue;
      const age = now - Math.max(view.drawn, since);
      const old = age > OLD_MS || !view.drawn;
      view.figure.className = old ? "old" : "";
      view.caption.className = old ? "bad" : "";
      view.caption.textContent = !old ? view.period_ms ? `${view.name}, ${(1000 / view.period_ms).toFixed(0)} Hz` : view.name
        : view.drawn ? `${view.name}: NO PICTURE for ${((now - view.drawn) / 1000).toFixed(0)} s`
        : age > OLD_MS ? `${view.name}: NO PICTURE has come` : `${view.name}: waiting for a picture`;
    }
  }

  for (const view of views) if (!view.extra) add(view);
  tellAges();
  setInterval(tellAges, 250);
}
