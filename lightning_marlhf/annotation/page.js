// Shows one pair at a time and sends what is chosen. The server holds all state; texts are only ever set as text.

// The keyboard, which the buttons of page.html name as well
const WINNERS = { 1: "left", 2: "right", 3: "tie" };
const SKIP = ["4", "s"];
const UNDO = "u";
const NOTE = "n"; // Escape leaves the note

const STORED_NAME = "annotator"; // key in the browser's local storage
const VERDICT_TEXTS = { left: "response 1 is better", right: "response 2 is better", tie: "a tie" };
// Characters that control, reorder or hide the text around them; line ends, tabs and joiners of letters and emoji stay.
const HIDING = /(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}]/gu;
const visible = (text) => text.replace(/\r\n?/g, "\n").replace(HIDING, "\ufffd");
const LONG = 20_000; // characters laid out at once; the rest on demand
const $ = (id) => document.getElementById(id);

let session; // token, question, ...; see server.py
let view = null; // the current view: a pair, or none when all pairs are done
let name = null;
let busy = false; // a request is under way: keys wait

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function request(path, options) {
  const response = await fetch(path, { cache: "no-store", ...options }).catch(() => {
    throw new Refused(0, "The server does not respond. Restart it, then repeat: nothing saved is lost.");
  });
  const reply = await response.json().catch(() => ({ error: `the server failed (${response.status})` }));
  if (!response.ok) throw new Refused(response.status, reply.error);
  return reply;
}

async function post(action, body, again = true) {
  try {
    return await request(action, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Page-Token": session.token },
      body: JSON.stringify({ annotator: name, ...body }),
    });
  } catch (error) {
    if (error.status !== 403 || !again) throw error;
    session = await request("session"); // the server was restarted
    return post(action, body, false);
  }
}

async function perform(action, body = {}, message = "") {
  if (busy) return false;
  busy = true;
  try {
    show(await post(action, body));
    warn("");
    $("status").textContent = message;
    return true;
  } catch (error) {
    warn(error.message);
    if (error.status === 409) show(await post("next", {}).catch(() => view));
    return false;
  } finally {
    busy = false;
  }
}

function warn(message) {
  $("warning").textContent = message;
  $("warning").hidden = !message;
  if (!message) return;
  $("status").textContent = "";
  window.scrollTo(0, 0);
}

function show(next) {
  view = next;
  const { pair, done, total } = view;
  $("welcome").hidden = true;
  $("progress").hidden = $("controls").hidden = false;
  $("comparison").hidden = !pair;
  $("finished").hidden = Boolean(pair);
  $("choices").hidden = $("skip").hidden = $("annotate").hidden = !pair;
  const skipped = view.skipped ? ` (${view.skipped} skipped, to come back)` : "";
  $("count").textContent = pair ? `${done + 1} of ${total}${skipped}` : `${done} of ${total} done`;
  $("bar").max = total || 1;
  $("bar").value = done;
  $("name").textContent = view.annotator;
  $("leave").hidden = session.annotator !== null;
  $("undo").disabled = !view.can_undo;
  for (const part of ["prompt", "left", "right"]) fill($(part), pair ? pair[part] : "");
  $("note").value = view.note;
  toggleNote(Boolean(view.note));
  $("prompt").scrollTop = 0;
  window.scrollTo(0, 0);
  $(pair ? "question" : "thanks").focus({ preventScroll: true });
}

function fill(box, text) {
  box.textContent = visible(text.slice(0, LONG));
  if (text.length <= LONG) return;
  const more = document.createElement("button");
  more.textContent = `Show all ${text.length.toLocaleString("en")} characters`;
  more.addEventListener("click", () => (box.textContent = visible(text)));
  box.append("\u2026\n", more);
}

function toggleNote(open) {
  $("note-box").hidden = !open;
  $("annotate").setAttribute("aria-expanded", String(open));
}

function press(key) {
  if (busy || view === null) return;
  if (key === UNDO) {
    if (view.can_undo) perform("undo", {}, "One step back");
  } else if (view.pair === null) {
    return;
  } else if (key in WINNERS) {
    const winner = WINNERS[key];
    const body = { pair: view.pair.id, winner, note: $("note").value };
    perform("verdict", body, `Saved: ${VERDICT_TEXTS[winner]}`);
  } else if (SKIP.includes(key)) {
    perform("skip", { pair: view.pair.id }, "Skipped: it comes back at the end");
  } else if (key === NOTE) {
    toggleNote(true);
    $("note").focus();
  }
}

function onKey(event) {
  if (event.target.matches("input, textarea")) {
    if (event.key === "Escape" && event.target === $("note")) {
      toggleNote(Boolean($("note").value));
      $("question").focus({ preventScroll: true });
    }
    return;
  }
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  const key = event.key.toLowerCase();
  if (key === NOTE) event.preventDefault(); // the note gets the focus, not the letter
  press(key);
}

function remember(value) {
  try {
    if (value === null) localStorage.removeItem(STORED_NAME);
    else localStorage.setItem(STORED_NAME, value);
  } catch {
    // without local storage the name is entered on every visit
  }
}

function recall() {
  try {
    return localStorage.getItem(STORED_NAME);
  } catch {
    return null;
  }
}

function welcome() {
  name = view = null;
  for (const id of ["progress", "comparison", "finished", "controls"]) $(id).hidden = true;
  $("welcome").hidden = false;
  $("given").focus();
}

async function enter(given) {
  name = given;
  const known = await perform("next");
  if (session.annotator !== null) return;
  if (known) remember(view.annotator);
  else welcome();
}

function describe() {
  $("question").textContent = session.question;
  document.title = session.question;
  $("where").textContent = `Your verdicts are in ${session.file}.`;
  for (const [point, meaning] of session.points) {
    const row = document.createElement("div");
    row.append(document.createElement("dt"), document.createElement("dd"));
    row.firstChild.textContent = point;
    row.lastChild.textContent = meaning;
    $("points").append(row);
  }
  for (const known of session.names) {
    const option = document.createElement("option");
    option.value = known;
    $("known").append(option);
  }
}

async function start() {
  try {
    session = await request("session");
  } catch (error) {
    warn(error.message);
    return;
  }
  describe();
  const given = session.annotator ?? recall();
  if (given === null) welcome();
  else await enter(given);
}

document.addEventListener("keydown", onKey);
for (const button of document.querySelectorAll("[data-key]"))
  button.addEventListener("click", () => press(button.dataset.key));
$("welcome").addEventListener("submit", (event) => {
  event.preventDefault();
  enter($("given").value);
});
$("leave").addEventListener("click", () => {
  remember(null);
  welcome();
});
start();
