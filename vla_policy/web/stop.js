// STOP: sent at once, and again until it is confirmed; what became of it is told all the while.

import { postStop } from "./link.js";

const AGAIN_MS = 500;
const BESIDE_MS = 150; // without an answer over the link, it also goes beside it
const OWN_STOP = "If the robot moves, use its own stop button.";

// show(text, colour): one line. colour: good, warn, bad or alarm. verb: stop, or stop_all for every robot of the domain.
export function makeStop(control, show, verb = "stop") {
  let pressed = null; // {since, tries, timer, late, beside}

  function press() {
    if (pressed) { attempt(); return; }
    pressed = { since: performance.now(), tries: 0, refusal: "" };
    show("Stopping…", "warn");
    attempt();
    pressed.late = setTimeout(tellLate, AGAIN_MS);
    pressed.timer = setInterval(() => { attempt(); tellLate(); }, AGAIN_MS);
  }

  function attempt() {
    const mine = pressed;
    mine.tries += 1;
    control.ask(verb, "", { always: true }).then((answer) => { if (!answer.lost) take(mine, answer); });
    const first = mine.tries === 1 && control.up && control.silence() < AGAIN_MS;
    setTimeout(() => beside(mine), first ? BESIDE_MS : 0);
  }

  // One such request at a time: browsers hold six connections to a host at most.
  function beside(mine) {
    if (mine !== pressed) return;
    mine.beside?.abort();
    const abort = mine.beside = new AbortController();
    postStop(verb, abort.signal).then((answer) => take(mine, answer), () => null); // no answer is told by tellLate
  }

  function take(mine, answer) {
    if (mine !== pressed) return;
    if (!answer.ok) { mine.refusal = answer.message; tellLate(); return; }
    const after = ((performance.now() - mine.since) / 1000).toFixed(2);
    end();
    show(`Stopped, confirmed after ${after} s: ${answer.message}`, "good");
  }

  function tellLate() {
    const mine = pressed;
    if (!mine) return;
    const seconds = ((performance.now() - mine.since) / 1000).toFixed(1);
    const why = mine.refusal ? `NOT STOPPED: ${mine.refusal}.` : "NO ANSWER to the stop.";
    show(`${why} ${OWN_STOP}`, "alarm", `Still trying, for ${seconds} s.`);
  }

  function end() {
    if (!pressed) return;
    clearTimeout(pressed.late);
    clearInterval(pressed.timer);
    pressed.beside?.abort();
    pressed = null;
  }

  // Who leaves the page while a stop is under way still means it.
  addEventListener("pagehide", () => { if (pressed) postStop(verb).catch(() => null); });
  return { press, giveUp: end };
}
