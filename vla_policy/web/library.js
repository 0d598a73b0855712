// Data sets and their episodes: to look at in a window of their own, to delete and to bring back.

import { counted } from "./told.js";

// find(id): elements. tell(text, colour): one line. ask(verb, details): the answer.
export function makeLibrary(find, tell, ask) {
  let shown = "", busy = false;

  find("library-box").addEventListener("toggle", () => { if (find("library-box").open) list(); });

  async function act(verb, details, doing) {
    if (busy) { tell("One thing of the library at a time.", "warn"); return null; }
    busy = true;
    find("library-told").textContent = doing;
    const answer = await ask(verb, details);
    busy = false;
    find("library-told").textContent = answer.message;
    return answer;
  }

  const list = () => act("library_list", {}, "Looking for data sets …");

  // The window is opened by the person's own link: browsers let no page open one later.
  async function view(set, episode, place) {
    const answer = await act("library_view", { set, episode }, `Reading episode ${episode} …`);
    if (!answer?.ok) return;
    const link = document.createElement("a");
    link.href = answer.about;
    link.target = "_blank";
    link.rel = "noopener";
    link.textContent = `Episode ${episode}`;
    place.replaceChildren(link);
    link.focus();
  }

  async function change(verb, details, doing) {
    const answer = await act(verb, details, doing);
    if (answer) tell(answer.message, answer.ok ? "good" : "bad");
  }

  function show(state) {
    const sets = state.library ?? [], words = JSON.stringify(sets);
    if (words === shown) return;
    shown = words;
    find("library").replaceChildren(...sets.map(section));
  }

  function section(about) {
    const group = document.createElement("fieldset"), legend = document.createElement("legend"), rows = document.createElement("ul");
    legend.textContent = `${about.set}: ${counted(about.of, "episode")}, ${about.robot || "robot not named"}, ${about.fps} Hz`;
    for (const entry of [...about.episodes].reverse()) rows.append(row(about.set, entry));
    group.append(legend, rows);
    if (about.undo) group.append(button("Undo the last deletion", () => change("library_undo", { set: about.set }, "Bringing it back …")));
    return group;
  }

  function row(set, { episode, seconds, task, success }) {
    const made = document.createElement("li"), text = document.createElement("span"), place = document.createElement("span");
    const judged = success === null ? "" : success ? ", success" : ", failure";
    text.textContent = `${episode}: ${task || "no task"}, ${seconds.toFixed(1)} s${judged} `;
    place.append(button("View", () => view(set, episode, place), `view episode ${episode} of ${set}`));
    made.append(text, place, " ", button("Delete", () => change("library_delete", { set, episode }, `Deleting episode ${episode} …`), `delete episode ${episode} of ${set}`));
    return made;
  }

  function button(words, act, name = words) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = words;
    made.setAttribute("aria-label", name);
    made.addEventListener("click", act);
    return made;
  }

  return { show };
}
