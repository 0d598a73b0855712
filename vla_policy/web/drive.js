// A hand at the page: keys or touched buttons become a twist, twenty times a second while they are held. The page sends nothing
// unless somebody holds something, and what it does not send lets the robot hold.

// key -> [axis of the twist, direction], as `vla teleop keyboard` has them.
const MOVES = {
  w: [0, 1], s: [0, -1], a: [1, 1], d: [1, -1], r: [2, 1], f: [2, -1],
  u: [3, 1], o: [3, -1], i: [4, 1], k: [4, -1], j: [5, 1], l: [5, -1],
};
const OPENINGS = { "[": 1, "]": 0 };
const SEND_MS = 50;
const ZEROS = 4; // sent after the last is let go

// find(id): elements. tell, ask: as elsewhere. control: the link.
export function makeDrive(find, tell, ask, control) {
  const held = new Map(), hand = Math.random().toString(36).slice(2);
  let opening = null, timer = 0, zeros = 0, mode = "", why = "";

  for (const [id, verb] of [["take-over", "take_over"], ["hand-back", "hand_back"], ["pause", "pause"]])
    find(id).addEventListener("click", async () => {
      const answer = await ask(verb, {});
      tell(answer.message, answer.ok ? "good" : "bad");
    });

  function hold(who, key) {
    if (mode !== "teleoperated") return;
    if (key in OPENINGS) opening = OPENINGS[key];
    held.set(who, key);
    zeros = ZEROS;
    timer ||= setInterval(send, SEND_MS);
    send();
  }

  function release(who) { held.delete(who); }
  function releaseAll() { held.clear(); }

  function send() {
    const twist = [0, 0, 0, 0, 0, 0], share = Number(find("drive-share").value);
    for (const key of held.values()) if (key in MOVES) twist[MOVES[key][0]] += MOVES[key][1] * share;
    const sent = control.drive({ hand, twist: twist.map((v) => Math.max(-1, Math.min(1, v))), opening });
    opening = null;
    if (!sent) releaseAll();
    if (held.size) zeros = ZEROS;
    else if (--zeros < 0) { clearInterval(timer); timer = 0; }
  }

  for (const button of find("drive-pad").querySelectorAll("button")) {
    const key = button.dataset.key;
    button.addEventListener("pointerdown", (event) => { button.setPointerCapture(event.pointerId); hold(button, key); });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) button.addEventListener(kind, () => release(button));
    button.addEventListener("keydown", (event) => { if ((event.key === "Enter" || event.key === " ") && !event.repeat) { event.preventDefault(); hold(button, key); } });
    button.addEventListener("keyup", () => release(button));
    button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch
  }

  // Keys drive only while this field has the focus, so that nothing typed elsewhere moves the robot.
  const keys = find("drive-keys");
  keys.addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.altKey || event.metaKey || !(key in MOVES || key in OPENINGS)) return;
    event.preventDefault();
    if (!event.repeat) hold(`key ${key}`, key);
  });
  keys.addEventListener("keyup", (event) => release(`key ${event.key.toLowerCase()}`));
  keys.addEventListener("blur", releaseAll);
  addEventListener("blur", releaseAll);
  document.addEventListener("visibilitychange", () => { if (document.hidden) releaseAll(); });

  function show(state) {
    mode = state.mode ?? "";
    if (mode !== "teleoperated") releaseAll();
    const there = typeof state.teleop === "string";
    const words = why ? `Not passed on: ${why}.`
      : !there ? "No teleop node is heard: start the robot with --teleop keyboard, or run vla teleop keyboard."
      : mode === "teleoperated" ? `A person is in control. ${state.teleop}` : `In control: ${mode || "unknown"}. Take over to drive.`;
    if (find("drive-told").textContent !== words) find("drive-told").textContent = words;
    for (const element of [keys, ...find("drive-pad").querySelectorAll("button")]) {
      const off = String(mode !== "teleoperated");
      if (element.getAttribute("aria-disabled") !== off) element.setAttribute("aria-disabled", off);
    }
  }

  return { show, onHand(sentence) { why = sentence; } };
}
