// Parameters that act at once, as the nodes describe them. What stands here is what the node says that it has: a change is
// shown as asked for until the node confirms it, and goes back where the node refuses it.

const LAG_MS = 1000; // by which a state may be older than an answer
const WIDE = 1000; // ranges with more whole numbers have no slider

// place: for the fields. tell(text, colour): one line. ask(verb, details): the answer.
export function makeControls(place, tell, ask) {
  const fields = new Map(); // "node/name" -> {entry, input, said, known}
  let adapters = null, shown = "";

  function show(state) {
    const entries = state.controls ?? [];
    const kinds = JSON.stringify([entries.map(({ value, ...rest }) => rest), state.adapters ?? []]);
    if (kinds !== shown) { shown = kinds; build(entries, state.adapters ?? []); }
    for (const entry of entries) settle(fields.get(`${entry.node}/${entry.name}`), entry.value);
    const acts = state.chunk?.adapter;
    if (adapters && acts !== undefined && acts !== adapters.known) { adapters.known = acts; adapters.input.value = acts; }
  }

  function build(entries, names) {
    fields.clear();
    place.replaceChildren();
    adapters = null;
    if (!entries.length) place.append(paragraph("No node is here whose parameters could be changed."));
    for (const node of new Set(entries.map((entry) => entry.node))) {
      const group = document.createElement("fieldset"), legend = document.createElement("legend");
      legend.textContent = node;
      group.append(legend);
      for (const entry of entries) if (entry.node === node) group.append(field(entry));
      if (node === "policy" && names.length) group.append(adapterField(names));
      place.append(group);
    }
  }

  function field(entry) {
    const input = entry.choices.length ? choice(entry.choices) : number(entry);
    const made = { entry, input, said: document.createElement("output"), known: undefined };
    fields.set(`${entry.node}/${entry.name}`, made);
    input.addEventListener("input", () => { made.said.textContent = `${told(made)} …`; });
    input.addEventListener("change", () => change(made));
    return labelled(entry.name, entry.says, input, made.said);
  }

  // One at a time, the newest wish last: two on their way at once could arrive in the other order.
  async function change(made) {
    made.again = true;
    if (made.asked) return;
    const { node, name } = made.entry;
    let value, answer;
    made.asked = true;
    while (made.again) {
      made.again = false;
      value = read(made);
      answer = await ask("set", { node, name, value });
    }
    made.asked = false;
    made.answered = performance.now();
    tell(`${node}: ${answer.message}`, answer.ok ? "good" : "bad");
    settle(made, answer.ok ? value : made.known, true);
  }

  // What the node has now, by its answer (sure) or by a state, which may be of before the answer.
  function settle(made, value, sure = false) {
    if (!made || made.asked || (value === made.known && !sure)) return;
    if (!sure && made.answered && performance.now() - made.answered < LAG_MS) return;
    made.known = value;
    if (made.entry.kind === "bool") made.input.checked = value;
    else made.input.value = value;
    made.said.textContent = told(made);
  }

  function adapterField(names) {
    adapters = { input: choice(names, "the base alone"), known: undefined };
    adapters.input.addEventListener("change", async () => {
      const answer = await ask("adapter", { name: adapters.input.value });
      tell(`adapter: ${answer.message}`, answer.ok ? "good" : "bad");
      if (!answer.ok) adapters.input.value = adapters.known ?? "";
    });
    return labelled("adapter", "of the policy, exchanged between two chunks", adapters.input, document.createElement("output"));
  }

  return { show };
}

const read = ({ entry, input }) => entry.kind === "bool" ? input.checked : entry.kind === "text" ? input.value : Number(input.value);
const told = (made) => made.entry.kind === "bool" ? (made.input.checked ? "yes" : "no") : made.input.type === "range" ? made.input.value : "";

function choice(values, empty = "") {
  const made = document.createElement("select");
  for (const value of values) {
    const option = document.createElement("option");
    option.value = value;
    option.textContent = value || empty;
    made.append(option);
  }
  return made;
}

function number(entry) {
  const made = document.createElement("input");
  if (entry.kind === "bool") { made.type = "checkbox"; return made; }
  if (entry.kind === "text") { made.type = "text"; return made; }
  const span = entry.high - entry.low, known = entry.low !== null;
  made.type = known && (entry.kind === "float" || span <= WIDE) ? "range" : "number";
  if (known) { made.min = entry.low; made.max = entry.high; }
  made.step = entry.kind === "int" ? 1 : known && span <= 2 ? 0.05 : 0.1;
  return made;
}

let count = 0;
function labelled(name, says, input, said) {
  const row = document.createElement("div"), label = document.createElement("label"), about = document.createElement("small");
  input.id = `control-${++count}`;
  label.htmlFor = input.id;
  label.append(...name.split(/(?<=_)/).flatMap((part, k) => k ? [document.createElement("wbr"), part] : [part]));
  about.id = `${input.id}-says`;
  about.textContent = says;
  input.setAttribute("aria-describedby", about.id);
  row.className = "field";
  row.append(label, input, said, about);
  return row;
}

function paragraph(text) {
  const made = document.createElement("p");
  made.textContent = text;
  return made;
}
