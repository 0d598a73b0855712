// Which robot this page is of, and the others of its domain: their state, and their own pages.

const COLOUR = { PASS: "good", SLOW: "warn", HOLD: "warn", STOP: "bad" };
const LOOPBACK = ["127.0.0.1", "localhost", "[::1]"];

const named = ({ name, namespace }) => `${name || "a robot"}${namespace === "/" ? "" : `, ${namespace}`}`;

// An address as a link may have it; null for what is none, and for one that only the other robot's own machine reaches.
function reached(text) {
  let url = null;
  try { url = new URL(text); } catch { return null; }
  if (url.protocol !== "http:" && url.protocol !== "https:") return null;
  return LOOPBACK.includes(url.hostname) && !LOOPBACK.includes(location.hostname) ? null : url.href;
}

// find(id): elements.
export function makeRobots(find) {
  let shown = "", told = [];

  function show(state) {
    const robots = state.robots ?? [];
    const words = JSON.stringify([state.robot ?? null, robots.map(({ name, namespace, page }) => [name, namespace, page])]);
    if (words !== shown) { shown = words; build(state.robot, robots); }
    robots.forEach((robot, k) => {
      const text = robot.level ? `${robot.level}, ${robot.engaged ? "engaged" : "not engaged"}: ${robot.why}` : `unknown: ${robot.why}`;
      if (told[k].textContent !== text) told[k].textContent = text;
      told[k].className = COLOUR[robot.level] ?? "bad";
    });
  }

  function build(own, robots) {
    if (own) find("robot").textContent = document.title = named(own);
    find("robots-box").hidden = find("stop-all").hidden = !robots.length;
    told = robots.map(() => document.createElement("span"));
    find("robots").replaceChildren(...robots.map((robot, k) => {
      const row = document.createElement("li"), address = reached(robot.page);
      const who = document.createElement(address ? "a" : "b");
      who.textContent = named(robot);
      if (address) { who.href = address; who.target = "_blank"; who.rel = "noopener noreferrer"; }
      row.append(who, " ", told[k]);
      return row;
    }));
  }

  return { show };
}
