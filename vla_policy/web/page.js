// The page: buttons, words and keys to requests; what the server tells to what is shown.

import { controlLink, giveKey, page } from "./link.js";
import { makeControls } from "./controls.js";
import { makeDrive } from "./drive.js";
import { makeLibrary } from "./library.js";
import { makeRecording } from "./recording.js";
import { makeRobots } from "./robots.js";
import { makeStop } from "./stop.js";
import { makeTimeline } from "./timeline.js";
import { isStop } from "./words.js";
import { showSaid, showState } from "./told.js";
import { showViews } from "./views.js";

const LATE_MS = 500;
const SILENT_MS = 1000;
const KEPT = 8;
const find = (id) => document.getElementById(id);
const own = []; // instructions typed here, the newest first: {words, answer, late, told}
let state = {}, typed = null; // denials before the token that was typed here last, until one is accepted

// Text only: what a server or a robot says is never markup. aside is not read out again and again.
function tellIn(line, text, colour, aside = "") {
  line.className = colour;
  if (line.firstChild?.textContent !== text) line.replaceChildren(document.createElement("span"), document.createElement("span"));
  if (line.firstChild.textContent !== text) line.firstChild.textContent = text;
  line.lastChild.ariaHidden = "true";
  line.lastChild.textContent = aside ? " " + aside : "";
}

const tell = (...told) => tellIn(find("answer"), ...told);
const tellAll = (text, ...told) => tellIn(find("answer-all"), `All robots: ${text}`, ...told);
const control = controlLink(showLink, (why) => { drive.onHand(why); drive.show(state); });
const stop = makeStop(control, tell);
const stopAll = makeStop(control, tellAll, "stop_all");
const asked = (verb, details) => control.ask(verb, "", { details });
const controls = makeControls(find("controls"), tell, asked);
const recording = makeRecording(find, tell, asked);
const library = makeLibrary(find, tell, asked);
const robots = makeRobots(find);
const drive = makeDrive(find, tell, asked, control);
const timeline = makeTimeline(find("time"), find("time-told"));

function showLink() {
  const silent = !control.up || control.silence() > SILENT_MS;
  const line = find("link");
  const asks = silent && control.refused && page.key === null;
  if (!silent) typed = null;
  const wrong = typed !== null && control.denials > typed;
  const text = !silent ? ""
    : asks ? `${wrong ? "This is not the robot's token." : "The page asks for the robot's token."} Without it nothing here acts, STOP included.`
    : "NO ANSWER of the page's server: what is shown is old, and STOP may not arrive. If the robot moves, use its own stop button.";
  find("token-form").hidden = !asks;
  if (line.textContent !== text) {
    line.textContent = text;
    line.className = text ? "alarm" : "";
    // What was answered before is of before.
    for (const answer of [find("answer"), find("answer-all")]) if (text && answer.className === "good") answer.className = "soft";
    redraw();
  }
}

function redraw() {
  showState(find("state"), state, !find("link").textContent);
  showSaid(find("said"), own, state.goals ?? [], (entry, text, ended) => {
    if (!ended || entry.told === text) return;
    entry.told = text;
    find("heard").textContent = `${entry.words}: ${text}`;
  });
}

async function ask(verb) {
  const late = setTimeout(() => tell(`${verb}: NO ANSWER yet`, "bad"), LATE_MS);
  tell(`${verb} …`, "soft");
  const answer = await control.ask(verb);
  clearTimeout(late);
  tell(`${verb}: ${answer.message}`, answer.ok ? "good" : "bad");
}

async function say(words) {
  const entry = { words, answer: null, late: false, told: "" };
  own.unshift(entry);
  own.length = Math.min(own.length, KEPT);
  find("said").scrollTop = 0;
  const late = setTimeout(() => { entry.late = true; redraw(); }, LATE_MS);
  redraw();
  entry.answer = await control.ask("say", words);
  clearTimeout(late);
  redraw();
}

find("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!find("token").value.trim()) return;
  typed = control.denials;
  giveKey(find("token").value);
  find("token").value = "";
});
find("stop").addEventListener("click", stop.press);
find("stop-all").addEventListener("click", () => { stop.press(); stopAll.press(); }); // its own robot as fast as ever
find("reset").addEventListener("click", () => {
  for (const one of [stop, stopAll]) one.giveUp();
  find("answer-all").replaceChildren();
  find("answer-all").className = "";
  ask("reset");
});
find("engage").addEventListener("click", () => ask("engage"));
find("disengage").addEventListener("click", () => ask("disengage"));
find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = find("words").value.trim();
  if (!words) return;
  find("words").value = "";
  if (isStop(words)) stop.press();
  else say(words);
});
find("words").addEventListener("keydown", (event) => {
  if (event.key !== "ArrowUp" || find("words").value || !own.length) return;
  event.preventDefault();
  find("words").value = own[0].words; // to be mended and said again
});
// Whatever has the focus, and before anything else hears of the key.
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.repeat) return;
  event.preventDefault();
  stop.press();
}, { capture: true });

// Words that were said here or to this robot before, and the task that a simulation has drawn.
function suggest() {
  const words = new Set([state.task, ...(state.goals ?? []).map((goal) => goal.words).reverse(), ...own.map((entry) => entry.words)]);
  words.delete(undefined);
  const shown = [...words].filter(Boolean).join("\n");
  if (find("suggested").dataset.words === shown) return;
  find("suggested").dataset.words = shown;
  find("suggested").replaceChildren(...shown.split("\n").map((text) => { const option = document.createElement("option"); option.value = text; return option; }));
}

redraw();
showViews(find("big"), find("small"), (told) => {
  state = told;
  redraw();
  suggest();
  for (const part of [controls, recording, library, drive, robots]) part.show(state);
  timeline.add(state);
});
