// A WebSocket to the page's server that shows the key, and is made again when it is lost. The key is written into the page,
// or it is the token that a person knows: given once, behind the # of the address or in the page's form, and kept for this tab
// (sessionStorage), so that no browser ever sends it by itself.

const RETRY_MS = [100, 250, 500, 1000, 2000];
const OPEN_MS = 5000;   // for a link to come about
const SILENT_MS = 5000; // of the control link, after which it is made again
const BEAT_MS = 1000;   // silence after which nothing that moves is sent
const NO_KEY = 4003;

// What the server wrote into the page; its key is null where the page asks for the token.
const filled = (page) => JSON.parse(page.querySelector("meta[name=page]").content);
export const page = filled(document);
const keyless = new Set(); // links that wait for a token
let key = page.key ?? (givenKey() || sessionStorage.getItem("key") || "");
if (page.key === null) addEventListener("hashchange", () => { const given = givenKey(); if (given) giveKey(given); });

function givenKey() {
  const given = location.hash.slice(1);
  if (!given) return "";
  history.replaceState(null, "", location.pathname); // not for who looks over a shoulder
  let words = given;
  try { words = decodeURIComponent(given); } catch { /* then it is meant as it stands there */ }
  sessionStorage.setItem("key", words);
  return words;
}

// The token, as a person knows it.
export function giveKey(words) {
  key = words.trim();
  sessionStorage.setItem("key", key);
  const waiting = [...keyless];
  keyless.clear();
  for (const connect of waiting) connect();
}

function forgetKey(shown) {
  if (page.key !== null || shown !== key) return;
  key = "";
  sessionStorage.removeItem("key");
}

// A server that was started anew has another key; its page has it too, if it may be known at all.
async function renewKey() {
  if (page.key === null) return;
  const stopAt = AbortSignal.timeout(2000);
  const text = await (await fetch("/", { signal: stopAt, cache: "no-store" })).text();
  key = filled(new DOMParser().parseFromString(text, "text/html")).key;
}

// told: onText(message), onBytes(buffer), onOpen(), onLost(sentence, refused, denied). refused: no key, or one that the server
// does not take; denied: only the latter.
export function openLink(path, told) {
  let socket = null, tries = 0, open = false, timer = 0, shown = "";

  function connect() {
    if (page.key === null && !key) {
      keyless.add(connect);
      queueMicrotask(() => told.onLost?.("", true, false)); // not before who asked for the link has it
      return;
    }
    const mine = new WebSocket(location.origin.replace(/^http/, "ws") + path);
    socket = mine;
    mine.binaryType = "arraybuffer";
    timer = setTimeout(() => lose(mine, 0, ""), OPEN_MS);
    mine.onopen = () => { shown = key; mine.send(JSON.stringify({ key })); };
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
    if (code === NO_KEY) forgetKey(shown);
    told.onLost?.(reason, code === NO_KEY, code === NO_KEY);
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
  let count = 0, beat = 0, heard = performance.now(), up = false, sentence = "", refused = false, denials = 0;
  const link = openLink("/control", {
    onOpen() { up = true; refused = false; beat = 0; heard = performance.now(); onChange(); },
    onText(message) {
      if (message.beat) { beat = message.beat; heard = performance.now(); onChange(); return; }
      if (message.hand !== undefined) { onHand(message.hand); return; }
      waiting.get(message.id)?.(message);
      waiting.delete(message.id);
    },
    onLost(reason, isRefused, isDenied) {
      up = false; sentence = reason; refused = isRefused; denials += isDenied ? 1 : 0;
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
    // How many keys that were shown the server did not take.
    get denials() { return denials; },
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
export async function postStop(verb, signal) {
  const headers = { "X-Key": key };
  const reply = await fetch(`/${verb}`, { method: "POST", headers, keepalive: true, signal });
  if (reply.status === 403) await renewKey();
  const text = await reply.text();
  try { return JSON.parse(text); } catch { return { ok: false, message: text }; }
}
