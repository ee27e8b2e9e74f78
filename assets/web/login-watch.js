// Watches the login of an open page: the person's input renews it, a dialog warns before it ends and lets them show
// password and code again in place, and when it is over the page goes to sign-in.

const LOOK_MS = 20_000; // how often the server is asked
const TOUCH_MS = 30_000; // input is told at most so often
const STYLE = `
.carme-watch { border: 0; border-radius: 14px; padding: 1.5rem; width: min(26rem, calc(100vw - 2rem)); font: 400 16px/1.5 "Inter", "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif; color: #171a21; background: #fff; box-shadow: 0 12px 48px rgb(0 0 0 / .35); }
.carme-watch::backdrop { background: rgb(10 14 25 / .55); }
.carme-watch h2 { margin: 0 0 .35rem; font-size: 1.2rem; }
.carme-watch p { margin: 0 0 1rem; color: #545d6c; }
.carme-watch p.bad { color: #b3261e; }
.carme-watch label { display: block; margin: .75rem 0 .25rem; font-weight: 550; }
.carme-watch input { box-sizing: border-box; width: 100%; min-height: 2.75rem; padding: .5rem .75rem; font: inherit; color: inherit; background: transparent; border: 1px solid #98a3b8; border-radius: 10px; }
.carme-watch .row { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: 1.25rem; }
.carme-watch button { min-height: 2.75rem; padding: .5rem 1.1rem; font: inherit; font-weight: 600; border-radius: 10px; border: 1px solid transparent; cursor: pointer; color: #fff; background: #2f55c9; }
.carme-watch button.quiet { color: inherit; background: none; border-color: #98a3b8; }
.carme-watch :focus-visible { outline: 3px solid rgb(47 85 201 / .45); outline-offset: 2px; }
[data-theme="dark"] .carme-watch { color: #e9ecf2; background: #181c24; }
[data-theme="dark"] .carme-watch p { color: #a3abba; }
[data-theme="dark"] .carme-watch p.bad { color: #ff9a90; }
[data-theme="dark"] .carme-watch button:not(.quiet) { color: #0e1630; background: #8fabff; }
@media (prefers-color-scheme: dark) {
:root:not([data-theme="light"]) .carme-watch { color: #e9ecf2; background: #181c24; }
:root:not([data-theme="light"]) .carme-watch p { color: #a3abba; }
:root:not([data-theme="light"]) .carme-watch p.bad { color: #ff9a90; }
:root:not([data-theme="light"]) .carme-watch button:not(.quiet) { color: #0e1630; background: #8fabff; }
}
`;

let state = null; // what the server said last
let readAt = 0;
let touchedAt = -Infinity; // performance.now() starts at 0: a young page must be able to tell, too
let inputAt = 0;
let dialog = null;
let shown = ""; // which of the dialog's contents: "", idle, end
let leaving = false;

const now = () => performance.now();
const left = (seconds) => seconds - (now() - readAt) / 1000;

async function ask(path, options = {}) {
  return fetch(path, { credentials: "same-origin", cache: "no-store", redirect: "error", ...options });
}

async function post(path, body) {
  return ask(path, {
    method: "POST",
    headers: { "X-CSRF-Token": state.csrf, "Content-Type": "application/json" },
    body: body === undefined ? "" : JSON.stringify(body),
  });
}

async function look() {
  if (leaving) return;
  let answer;
  try {
    answer = await ask("/api/session");
  } catch {
    return; // the console is away; its pages say so themselves
  }
  if (answer.status === 401) return leave();
  if (!answer.ok) return;
  const said = await answer.json();
  if (state && said.name !== state.name) return location.reload(); // somebody else has signed in here
  state = said;
  readAt = now();
  draw();
}

function leave() {
  if (leaving) return;
  leaving = true;
  location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search + location.hash));
}

async function touch() {
  if (!state || leaving || now() - touchedAt < TOUCH_MS) return;
  touchedAt = now();
  try {
    const answer = await post("/api/session/touch");
    if (answer.status === 401 || answer.status === 403) await look();
  } catch {
    return;
  }
}

function onInput(event) {
  if (!event.isTrusted || shown === "idle") return; // the warning asks for an answer of its own
  inputAt = now();
  touch();
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function minutes(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} seconds`;
  return `${Math.round(seconds / 60)} minutes`;
}

function draw() {
  if (!state) return;
  if (left(state.absolute_s) <= 0 || left(state.idle_s) <= 0) return look();
  if (left(state.absolute_s) <= state.warn_s) return show("end");
  if (left(state.idle_s) <= state.warn_s && left(state.idle_s) < left(state.absolute_s)) return show("idle");
  hide();
}

function hide() {
  shown = "";
  dialog?.close();
}

function show(kind) {
  if (shown === kind) {
    const line = dialog.querySelector("[data-left]");
    if (line) line.textContent = minutes(left(kind === "idle" ? state.idle_s : state.absolute_s));
    return;
  }
  if (kind === "end" && shown === "later") return;
  shown = kind;
  if (!dialog) {
    document.head.append(element("style", { textContent: STYLE }));
    dialog = element("dialog", { className: "carme-watch" });
    dialog.setAttribute("aria-labelledby", "carme-watch-title");
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      if (shown === "idle") stay();
      else later();
    });
    document.body.append(dialog);
  }
  dialog.replaceChildren(...(kind === "idle" ? idleContent() : endContent()));
  if (!dialog.open) dialog.showModal();
}

function idleContent() {
  const time = element("strong", { textContent: minutes(left(state.idle_s)) });
  time.dataset.left = "";
  return [
    element("h2", { id: "carme-watch-title", textContent: "Are you still there?" }),
    element("p", {}, "Without input you are signed out in ", time, ". Your jobs and sessions go on."),
    element(
      "div",
      { className: "row" },
      element("button", { textContent: "Stay signed in", autofocus: true, onclick: stay }),
      element("button", { textContent: "Sign out", className: "quiet", onclick: signOut }),
    ),
  ];
}

function endContent() {
  const time = element("strong", { textContent: minutes(left(state.absolute_s)) });
  time.dataset.left = "";
  const said = element("p", { className: "bad", hidden: true });
  said.setAttribute("role", "alert");
  const password = element("input", { type: "password", id: "carme-watch-password", autocomplete: "current-password", required: true });
  const code = element("input", { id: "carme-watch-code", autocomplete: "one-time-code", inputMode: "numeric", maxLength: 32, required: state.second_factor === "required" });
  const label = (of, text) => element("label", { htmlFor: of.id, textContent: text });
  const fields = [label(password, "Password"), password];
  if (state.second_factor !== "off") fields.push(label(code, "Code"), code);
  const form = element(
    "form",
    {
      onsubmit: async (event) => {
        event.preventDefault();
        said.hidden = true;
        let answer;
        try {
          answer = await post("/api/session/again", { password: password.value, code: code.value });
        } catch {
          said.textContent = "The console can’t be reached at the moment.";
          said.hidden = false;
          return;
        }
        if (answer.ok) {
          shown = "";
          dialog.close();
          return look();
        }
        if (answer.status === 401) return leave();
        said.textContent = (await answer.json()).detail ?? "That did not work.";
        said.hidden = false;
        code.value = "";
      },
    },
    ...fields,
    element(
      "div",
      { className: "row" },
      element("button", { textContent: "Stay signed in" }),
      element("button", { type: "button", textContent: "Later", className: "quiet", onclick: later }),
    ),
  );
  return [
    element("h2", { id: "carme-watch-title", textContent: "Sign in again" }),
    element("p", {}, "This sign-in ends in ", time, ", whatever you do. Show password and code again and go on where you are."),
    said,
    form,
  ];
}

function later() {
  shown = "later";
  dialog.close();
}

async function stay() {
  touchedAt = -Infinity;
  shown = "";
  dialog.close();
  await touch();
  await look();
}

async function signOut() {
  leaving = true;
  await post("/logout");
  location.assign("/login");
}

// A page's socket that closes may mean that the login is over: ask at once rather than at the next look.
const NativeSocket = window.WebSocket;
window.WebSocket = class extends NativeSocket {
  constructor(...given) {
    super(...given);
    this.addEventListener("close", () => setTimeout(look, 50));
  }
};

for (const kind of ["pointerdown", "keydown", "wheel", "touchstart"]) {
  addEventListener(kind, onInput, { capture: true, passive: true });
}
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && look());
setInterval(() => (now() - readAt >= LOOK_MS ? look() : draw()), 1000);
look();
