// What the job printed, its script and its environment: read as the person, when asked for.
import {h} from "../dom.js"
import {icon} from "../icons.js"
import {empty, skeleton} from "../ui.js"
import {amount} from "./curve.js"
import {copy} from "./verdicts.js"

const TABS = [["out", "Output"], ["err", "Errors"], ["script", "Script"], ["environment", "Environment"]]

export function papers(app, own, which) {
  const shown = own.paper || ""
  const pick = (name) => {
    own.paper = own.paper === name ? "" : name
    if (own.paper && !own.papers[name]) read(app, own, which, name)
    app.render()
  }
  const paper = shown ? own.papers[shown] : null
  return h("section", {class: "block papers", key: "papers", "aria-label": "Output and script"},
    h("div", {class: "block-head"},
      h("h2", {}, "Output and script"),
      h("div", {class: "segmented", role: "group", "aria-label": "What to read"}, TABS.map(([name, words]) =>
        h("button", {type: "button", key: name, "aria-pressed": String(shown === name), onclick: () => pick(name)}, words)))),
    !shown ? h("p", {class: "hint"}, "Read from its files as you, when you ask for it.")
      : !paper || paper.busy && !paper.found ? skeleton(5)
        : paper.error ? empty("It can’t be shown", paper.error)
          : sheet(app, own, which, shown, paper))
}

function sheet(app, own, which, name, {found, busy}) {
  const log = name === "out" || name === "err"
  return [
    h("div", {class: "paper-head", key: "head"},
      found.path ? h("span", {class: "mono"}, found.path) : null,
      found.size_bytes ? h("span", {class: "quiet-text num"}, log && found.text.length < found.size_bytes ? `the end of ${amount(found.size_bytes, "bytes")}` : amount(found.size_bytes, "bytes")) : null,
      h("span", {class: "grow"}),
      found.text ? h("button", {type: "button", class: "button quiet", onclick: () => copy(app, found.text)}, icon("copy"), "Copy") : null,
      log ? h("button", {type: "button", class: "button quiet", disabled: busy, onclick: () => { read(app, own, which, name); app.render() }}, icon("again"), "Read again") : null),
    found.note ? h("p", {class: "hint", key: "note"}, found.note) : null,
    found.text ? h("pre", {class: "log paper", tabindex: "0", key: `text-${name}`, "aria-label": TABS.find(([each]) => each === name)[1], role: "region"}, found.text)
      : found.note ? null : h("p", {class: "hint", key: "nothing"}, log ? "Nothing was printed so far." : "It is empty."),
  ]
}

function read(app, own, which, name) {
  const {key} = own
  const paper = (own.papers[name] = {...own.papers[name], busy: true, error: ""})
  const log = name === "out" || name === "err"
  app.call(log ? "job.log" : "job.script", {...which, [log ? "which" : "kind"]: name}).then((found) => {
    if (own.key === key) own.papers[name] = {found, busy: false, error: ""}
    app.render()
  }, (error) => {
    if (own.key === key) own.papers[name] = {...paper, busy: false, error: error.message}
    app.render()
  })
}
