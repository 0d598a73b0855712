// Takes: what is missing, a countdown, each stream's rate and lag, then keep or discard with the reasons.

import { counted } from "./told.js";

const COUNT_S = 3;
const UNDO_S = 6;

// find(id): elements of the page. tell(text, colour): one line. ask(verb, details): the answer.
export function makeRecording(find, tell, ask) {
  let recorder = null, counting = 0, left = 0, removing = 0;
  const text = (id, words) => { if (find(id).textContent !== words) find(id).textContent = words; };

  async function act(verb, details = {}) {
    const answer = await ask(verb, details);
    tell(answer.message, answer.ok ? "good" : "bad");
  }

  function count() {
    left -= 1;
    if (left > 0) { show(); return; }
    stopCounting();
    act("record_start");
  }

  function stopCounting() {
    clearInterval(counting);
    counting = left = 0;
    show();
  }

  find("record-start").addEventListener("click", () => {
    if (counting) { stopCounting(); tell("No take was begun.", "soft"); return; }
    left = COUNT_S;
    counting = setInterval(count, 1000);
    show();
  });
  find("record-end").addEventListener("click", () => act("record_end"));
  for (const outcome of ["success", "failure", "unknown"])
    find(`record-${outcome}`).addEventListener("click", () => act("record_save", { outcome }));
  find("record-discard").addEventListener("click", () => act("record_discard"));
  find("record-task").addEventListener("change", () => act("record_task", { task: find("record-task").value }));

  // Nothing is taken out of the set while it can still be undone.
  find("record-delete").addEventListener("click", () => {
    if (removing) { clearTimeout(removing); removing = 0; show(); tell("The episode stays.", "good"); return; }
    const episode = recorder.saved - 1;
    removing = setTimeout(() => { removing = 0; act("record_delete", { episode }); show(); }, UNDO_S * 1000);
    tell(`Episode ${episode} leaves the set in ${UNDO_S} s.`, "warn");
    show();
  });

  function show() {
    const phase = recorder?.phase ?? "none";
    find("record-none").hidden = phase !== "none";
    find("record-some").hidden = phase === "none";
    text("record-now", phase === "recording" ? `: ${recorder.elapsed_s.toFixed(0)} s` : phase === "deciding" ? ": keep it?" : "");
    if (!recorder) return;
    const idle = phase === "idle";
    find("record-start").hidden = !idle;
    text("record-start", counting ? `Recording in ${left} – cancel` : "Record");
    find("record-start").disabled = !counting && recorder.missing.length > 0;
    find("record-end").hidden = phase !== "recording";
    find("record-decide").hidden = phase !== "deciding";
    find("record-delete").hidden = !idle || !recorder.saved;
    text("record-delete", removing ? "Undo: keep the episode" : `Delete episode ${recorder.saved - 1}`);
    if (document.activeElement !== find("record-task")) find("record-task").value = recorder.task;
    text("record-phase", idle ? `${counted(recorder.saved, "episode")} in ${recorder.folder}${room(recorder.left_s)}`
      : `Episode ${recorder.episode}: ${phase}, ${recorder.elapsed_s.toFixed(1)} s, ${recorder.frames} frames`
        + (recorder.invalid ? `, ${recorder.invalid} of them without all streams` : "") + (recorder.lost ? `, ${recorder.lost} messages lost` : ""));
    find("record-phase").className = phase === "recording" ? "bad" : "";
    list("record-why", idle ? recorder.missing : phase === "deciding" ? [recorder.keep ? "Advice: keep it." : "Advice: discard it.", ...recorder.verdict] : []);
    table();
  }

  // Of what the disk still takes, where the recorder knows it.
  function room(seconds) {
    return typeof seconds === "number" ? `, room for ${seconds < 7200 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`}` : "";
  }

  function list(id, sentences) {
    const words = sentences.join("\n");
    if (find(id).dataset.words === words) return;
    find(id).dataset.words = words;
    find(id).replaceChildren(...sentences.map((sentence) => { const row = document.createElement("li"); row.textContent = sentence; return row; }));
  }

  function table() {
    const body = find("record-streams");
    while (body.rows.length > recorder.streams.length) body.deleteRow(-1);
    recorder.streams.forEach((stream, k) => {
      const row = body.rows[k] ?? body.insertRow();
      const cells = [stream.topic, `${stream.hz.toFixed(1)}`, stream.lag_s === null ? "–" : `${(stream.lag_s * 1000).toFixed(0)}`, `${stream.gaps}`];
      cells.forEach((words, n) => { const cell = row.cells[n] ?? row.insertCell(); if (cell.textContent !== words) cell.textContent = words; });
      row.className = stream.hz ? "" : "soft";
    });
  }

  show();
  return { show(state) { recorder = state.recorder ?? null; show(); } };
}
