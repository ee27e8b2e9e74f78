// What the person's own similar jobs say about the next one: taken over by one click, taken back by another.
import {h} from "./dom.js"
import {many, memory, span} from "./format.js"
import {icon} from "./icons.js"

const PAUSE_MS = 400 // after the last change of the form
const WORDS = {
  gpus: (value) => (value ? many(value, "GPU") : "no GPU"),
  cpus: (value) => many(value, "CPU"),
  memory_mb: (value) => memory(value),
  time_s: (value) => span(value),
}

/** Ask for it, once for each request. */
export function lookForHint(app, own) {
  const key = JSON.stringify(own.request)
  if (own.hintOf === key) return
  own.hintOf = key
  clearTimeout(own.hintTimer)
  own.hintTimer = setTimeout(() => app.call("launch.hint", {request: own.request}).then((found) => {
    if (own.hintOf !== key) return
    own.hint = found
    app.render()
  }, () => {
    if (own.hintOf !== key) return
    own.hint = null
    app.render()
  }), own.hint === undefined ? 0 : PAUSE_MS)
}

const words = (changes) =>
  Object.keys(WORDS).filter((name) => name in changes).map((name) => WORDS[name](changes[name])).join(" · ")

function use(app, own) {
  const {changes} = own.hint
  own.taken = {changes, before: app.route.query.toString()}
  own.hint = null
  own.typed = {}
  app.query(Object.fromEntries(Object.entries(changes).map(([name, value]) => [name, value === "" ? null : String(value)])), {replace: true})
  app.say(`Taken over: ${words(changes)}`)
}

function undo(app, own) {
  const {before} = own.taken
  own.taken = null
  app.go("/launch" + (before ? "?" + before : ""), {replace: true})
  app.say("As it was before")
}

/** The suggestion; after it was taken, the way back while the form still has it. */
export function hintBox(app, own) {
  const {hint, taken, request} = own
  if (taken && Object.entries(taken.changes).every(([name, value]) => name === "partition" || request[name] === value)) {
    return h("section", {class: "block hint-box taken", "aria-label": "From your own jobs", key: "hint"},
      h("p", {}, h("span", {class: "glyph", "aria-hidden": "true"}, "✓ "), "Taken over from your own jobs: ", h("strong", {}, words(taken.changes))),
      h("button", {type: "button", class: "button", onclick: () => undo(app, own)}, icon("again"), "Undo"))
  }
  if (hint?.away) return h("p", {class: "quiet-text hint-away", key: "hint"}, `What your own jobs used can’t be read now: ${hint.away}`)
  if (!hint?.changes) return null
  return h("section", {class: "block hint-box", "aria-label": "From your own jobs", key: "hint"},
    h("div", {},
      h("p", {}, h("strong", {}, words(hint.changes)), " would do"),
      h("p", {class: "quiet-text"}, hint.reason)),
    h("button", {type: "button", class: "button", "aria-label": `Take over ${words(hint.changes)}`, onclick: () => use(app, own)}, "Use this"))
}
