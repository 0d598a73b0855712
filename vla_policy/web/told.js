// What is told in words: the robot's state, and each instruction with how it went.

const COLOUR = { PASS: "good", SLOW: "warn", HOLD: "warn", STOP: "bad" };
const ENDED = { done: "good", preempted: "soft", canceled: "soft" };
const NO_WORD = ["unknown", "bad"];

function element(kind, text, colour) {
  const made = document.createElement(kind);
  made.textContent = text;
  if (colour) made.className = colour;
  return made;
}

export const counted = (count, name) => `${count} ${name}${count === 1 ? "" : "s"}`;
const seconds = (value) => typeof value === "number" ? value.toFixed(2) + " s" : "–";

// One [name, value, colour, wide] for each line. known: false while the server is not heard.
function lines(s, known) {
  if (!known || s.level === undefined || s.level === null)
    return [["commands", ...NO_WORD], ["guard", ...NO_WORD], ["why", (known && s.why) || "nothing is heard of the control node", "bad", true]];
  return [
    ["commands", (s.engaged ? "engaged" : "not engaged") + (s.shadow ? ", shadow: none reaches a controller" : ""), s.engaged ? "good" : "warn"],
    ["guard", s.level, COLOUR[s.level] ?? "bad"],
    ...(s.why ? [["why", s.why, COLOUR[s.level] ?? "bad", true]] : []),
    ["instruction of the plan", s.instruction || "–", "", true],
    ...(s.chunk?.plan ? [["plan", s.chunk.plan, "", true]] : []),
    ["in control", s.mode || "unknown", s.mode === "autonomous" ? "" : "warn"],
    ["queue", `${s.queue} rows`],
    ["chunk latency", seconds(s.latency_s)],
    ["commands sent", s.commands],
    ...(s.chunk?.adapter ? [["adapter", s.chunk.adapter, "", true]] : []),
    ...(s.policy ? [["policy", s.policy, s.policy_fine ? "" : "bad", true]] : []),
    ...(s.understanding ? [["what it understands", s.understanding, "soft", true]] : []),
    // The verdict of a task is shown beside that task alone.
    ...(s.task && s.task === s.instruction
      ? [["the simulation judges", `${s.success ? "done" : "not yet"}${s.detail ? ": " + s.detail : ""}`, s.success ? "good" : "", true]] : []),
  ];
}

export function showState(place, state, known) {
  const list = document.createElement("dl");
  for (const [name, value, colour, wide] of lines(state, known)) {
    const cell = document.createElement("div");
    if (wide) cell.className = "wide";
    cell.append(element("dt", name), element("dd", value, colour));
    list.append(cell);
  }
  place.replaceChildren(list);
}

// [text, colour] of how an instruction stands. goal: as the server tells it; it carries its own id.
export function standing(goal) {
  const judged = goal.verdict === true ? "; the simulation: reached" : goal.verdict === false ? `; the simulation: not ${goal.outcome ? "reached" : "yet"}` : "";
  if (!goal.outcome) return [`${goal.message || "sent"}${judged}`, "warn"];
  return [`${goal.outcome}: ${goal.message}${judged}`, ENDED[goal.outcome] ?? "bad"];
}

// The instructions of this page (own: {words, answer}) and of others, the newest first.
export function showSaid(place, own, goals, tellOwn) {
  const theirs = goals.filter((goal) => !own.some((entry) => entry.answer?.about === goal.id));
  const rows = own.map((entry) => {
    const goal = goals.find((other) => other.id === entry.answer?.about);
    const [text, colour] = goal ? standing(goal)
      : !entry.answer ? [entry.late ? "NO ANSWER yet" : "…", entry.late ? "bad" : "soft"]
      : [entry.answer.message, !entry.answer.ok ? "bad" : entry.answer.about ? "warn" : "good"];
    tellOwn(entry, text, Boolean(goal ? goal.outcome : entry.answer && !(entry.answer.ok && entry.answer.about)));
    return [entry.words, text, colour];
  });
  rows.push(...[...theirs].reverse().map((goal) => [goal.words, ...standing(goal)]));
  place.replaceChildren(...rows.map(([words, text, colour]) => {
    const row = document.createElement("li");
    row.append(element("b", words), element("span", text, colour));
    return row;
  }));
}
