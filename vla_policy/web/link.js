// A WebSocket to the page's server that shows the key, and is made again when it is lost.

const RETRY_MS = [100, 250, 500, 1000, 2000];
const OPEN_MS = 5000;   // for a link to come about
const SILENT_MS = 5000; // of the control link, after which it is made again
const BEAT_MS = 1000;   // silence after which nothing that moves is sent
const NO_KEY = 4003;

// What the server wrote into the page; beyond this machine the key stands behind the # of the address.
const filled = (page) => JSON.parse(page.querySelector("meta[name=page]").content);
export const page = filled(document);
let key = page.key ?? keptKey();

function keptKey() {
  const given = decodeURIComponent(location.hash.slice(1));
  if (given) {
    sessionStorage.setItem("key", given);
    history.replaceState(null, "", location.pathname); // not for who looks over a shoulder
  }
  return given || sessionStorage.getItem("key") || "";
}

// A server that was started anew has another key; its page has it too, if it may be known at all.
async function renewKey() {
  if (page.key === null) return;
  const stopAt = AbortSignal.timeout(2000);
  const text = await (await fetch("/", { signal: stopAt, cache: "no-store" })).text();
  key = filled(new DOMParser().parseFromString(text, "text/html")).key;
}

// told: onText(message), onBytes(buffer), onOpen(), onLost(sentence, refused).
export function openLink(path, told) {
  let socket = null, tries = 0, open = false, timer = 0;

  function connect() {
    const mine = new WebSocket(location.origin.replace(/^http/, "ws") + path);
    socket = mine;
    mine.binaryType = "arraybuffer";
    timer = setTimeout(() => lose(mine, 0, ""), OPEN_MS);
    mine.onopen = () => mine.send(JSON.stringify({ key }));
    mine.onmessage = (event) => {
      if (mine !== socket) return;
      if (typeof event.data !== "string") { told.onBytes?.(event.data); return; }
      const message = JSON.parse(event.data);
      if (message.hello) { clearTimeout(timer); open = true; tries = 0; told.onOpen?.(); }
      else told.onText(message);
    };
    mine.onclose = (event) => lose(mine, event.code, event.reason);
  }

  function lose(mine, code, reason) {
    if (mine !== socket) return;
    clearTimeout(timer);
    socket = null;
    open = false;
    mine.close();
    told.onLost?.(reason, code === NO_KEY);
    const renewed = code === NO_KEY ? renewKey().catch(() => null) : Promise.resolve();
    const wait = RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)];
    renewed.then(() => setTimeout(connect, wait));
  }

  connect();
  return {
    send: (message) => { if (open) socket.send(JSON.stringify(message)); return open; },
    again: () => { if (socket) lose(socket, 0, ""); },
  };
}

// The link for requests. told: onChange() when it may be up, silent or lost; onHand(why) when a hand's motion is not
// passed on, and with "" when it is again.
export function controlLink(onChange, onHand) {
  const waiting = new Map();
  let count = 0, beat = 0, heard = performance.now(), up = false, sentence = "", refused = false;
  const link = openLink("/control", {
    onOpen() { up = true; refused = false; beat = 0; heard = performance.now(); onChange(); },
    onText(message) {
      if (message.beat) { beat = message.beat; heard = performance.now(); onChange(); return; }
      if (message.hand !== undefined) { onHand(message.hand); return; }
      waiting.get(message.id)?.(message);
      waiting.delete(message.id);
    },
    onLost(reason, isRefused) {
      up = false; sentence = reason; refused = isRefused;
      for (const tell of waiting.values())
        tell({ ok: false, lost: true, message: "The link broke before an answer came; see the state for what happened." });
      waiting.clear();
      onChange();
    },
  });
  const silence = () => performance.now() - heard;
  setInterval(() => { if (up && silence() > SILENT_MS) link.again(); onChange(); }, 250);

  return {
    // Milliseconds since the server was last heard.
    silence,
    get up() { return up; },
    get sentence() { return sentence; },
    get refused() { return refused; },
    // The answer {ok, message, about}. What may move the robot is not sent over a link that is silent.
    ask(verb, words = "", { always = false, details = {} } = {}) {
      if (!up || (!always && (silence() > BEAT_MS || !beat)))
        return Promise.resolve({ ok: false, lost: true, message: "No link to the page's server: nothing was sent." });
      return new Promise((tell) => {
        const id = ++count;
        waiting.set(id, tell);
        link.send({ id, ask: verb, words, with: details, beat });
      });
    },
    // A hand's motion, over a link that is heard; whether it was sent.
    drive: (details) => up && beat > 0 && silence() <= BEAT_MS && link.send({ drive: details, beat }),
  };
}

// A stop beside the link, for when that one is silent. Raises if no answer comes.
export async function postStop(signal) {
  const headers = { "X-Key": key };
  const reply = await fetch("/stop", { method: "POST", headers, keepalive: true, signal });
  if (reply.status === 403) await renewKey();
  const text = await reply.text();
  try { return JSON.parse(text); } catch { return { ok: false, message: text }; }
}
