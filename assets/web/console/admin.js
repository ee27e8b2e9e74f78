// Admin: what the console finds when it looks at itself, what it keeps on disk and for how long, who changed what.
import {h} from "./dom.js"
import {clock, count, full, many, onDisk, when} from "./format.js"
import {icon} from "./icons.js"
import {badge, empty, meter, notice, select, skeleton} from "./ui.js"

export const title = "Admin"
export const topics = () => ["mine"]

const TYPING_MS = 250
const CHECK_AGAIN_S = 60 // what was found so long ago is looked at anew when one comes back
const SIGNS = {fail: ["bad", "✕", "Failed"], warn: ["wait", "▲", "Look at this"], ok: ["good", "✓", "Fine"]}
const OUTCOMES = {done: ["good", "✓", "Done"], refused: ["wait", "–", "Refused"], failed: ["bad", "✕", "Failed"]}

const state = (app) => (app.state.admin ??= {
  kept: null, keptError: "", checked: null, checkError: "", checking: false, fine: false, audit: null, auditError: "", asked: "", kinds: [], more: false, typing: 0,
})

const question = (query) => ({text: query.get("text") || "", kind: query.get("kind") || "", outcome: query.get("outcome") || ""})

export function enter(app) {
  const own = state(app)
  app.call("admin.look", {}).then((answer) => {
    own.kept = answer
    own.keptError = ""
    if (answer.may_audit) lookAudit(app, true)
    app.render()
  }, (error) => {
    own.keptError = error.message
    app.render()
  })
  if (!own.checked || Date.now() / 1000 - own.checked.at_s > CHECK_AGAIN_S) check(app)
}

export function moved(app) {
  if (state(app).kept?.may_audit) lookAudit(app)
}

export const leave = (app) => clearTimeout(state(app).typing)

function check(app) {
  const own = state(app)
  if (own.checking) return
  own.checking = true
  app.render()
  app.call("admin.check", {}).then((answer) => {
    own.checked = answer
    own.checkError = ""
  }, (error) => {
    own.checkError = error.message
  }).then(() => {
    own.checking = false
    app.render()
  })
}

function lookAudit(app, again = false) {
  const own = state(app)
  const wanted = question(app.route.query)
  const key = JSON.stringify(wanted)
  if (own.asked === key && !again) return
  own.asked = key
  app.call("admin.audit", wanted).then((answer) => {
    if (own.asked !== key) return
    own.audit = answer.lines
    own.more = answer.more
    own.kinds = answer.kinds
    own.auditError = ""
    app.render()
  }, (error) => {
    if (own.asked !== key) return
    own.auditError = error.message
    app.render()
  })
}

function older(app) {
  const own = state(app)
  const key = own.asked
  app.call("admin.audit", {...question(app.route.query), before: own.audit.at(-1).id}).then((answer) => {
    if (own.asked !== key) return
    own.audit = [...own.audit, ...answer.lines]
    own.more = answer.more
    app.render()
  }, (error) => app.toast(error.message, "bad"))
}

export function view(app) {
  const own = state(app)
  return {
    body: [
      h("div", {class: "head", key: "head"}, h("h1", {}, "Admin"), h("p", {class: "sub"}, "How the console itself does")),
      checks(app, own),
      own.keptError ? h("section", {class: "block", key: "kept"}, empty("What is kept can’t be shown", own.keptError))
        : own.kept ? kept(own.kept) : h("section", {class: "block", key: "kept"}, skeleton(8)),
      own.kept?.may_audit ? audit(app, own) : null,
    ],
  }
}

const table = (label, heads, rows, extra = "") =>
  h("div", {class: "table-wrap", tabindex: "0", role: "region", "aria-label": label},
    h("table", {class: `table stack ${extra}`},
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", {scope: "col", key: head}, head)))),
      h("tbody", {}, rows)))

// -- checks --------------------------------------------------------------------------------------------------

function checks(app, own) {
  const {checked} = own
  return h("section", {class: "block table-block", "aria-labelledby": "admin-checks", key: "checks"},
    h("div", {class: "admin-head"},
      h("h2", {id: "admin-checks"}, "Checks"),
      checked ? verdict(checked.findings) : null,
      h("span", {class: "quiet-text grow"}, own.checking ? "Looking at every connection, version and permission …" : checked ? `looked at ${clock(checked.at_s)}, as carme doctor does` : ""),
      h("button", {type: "button", class: "button", disabled: own.checking, onclick: () => check(app)}, icon("again"), "Look again")),
    own.checkError ? notice("bad", "The checks could not be made: ", own.checkError) : null,
    checked ? findings(app, own) : own.checkError ? null : skeleton(8))
}

/** What is not as it should be; the rest when it is asked for. */
function findings(app, own) {
  const all = sorted(own.checked.findings)
  const fine = all.filter((each) => each.state === "ok")
  const shown = own.fine ? all : all.filter((each) => each.state !== "ok")
  return [
    shown.length ? table("Table of checks", ["State", "What", "Found"], shown.map(finding), "admin-checks") : null,
    fine.length ? h("button", {type: "button", class: "button quiet", key: "fine", "aria-expanded": String(own.fine), onclick: () => { own.fine = !own.fine; app.render() }},
      icon(own.fine ? "down" : "right"), own.fine ? "Only what wants a look" : `${fine.length === all.length ? "All" : "The other"} ${many(fine.length, "check")}: fine`) : null,
  ]
}

function verdict(findings) {
  const number = (name) => findings.filter((each) => each.state === name).length
  const [failed, doubtful] = [number("fail"), number("warn")]
  if (failed) return badge(["bad", "✕", `${failed} failed${doubtful ? `, ${doubtful} to look at` : ""}`])
  return doubtful ? badge(["wait", "▲", `${doubtful} to look at`]) : badge(["good", "✓", "All is fine"])
}

const ORDER = {fail: 0, warn: 1, ok: 2}
const sorted = (findings) => [...findings].sort((one, other) => ORDER[one.state] - ORDER[other.state])

const finding = (each) =>
  h("tr", {key: each.check},
    h("td", {}, badge(SIGNS[each.state])),
    h("th", {scope: "row"}, each.check),
    h("td", {class: "admin-words"}, h("span", {}, words(each.found)), each.do ? h("span", {class: "admin-do"}, words(each.do)) : null))

/** What stands between backticks is to be typed. */
const words = (text) => text.split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part))

// -- what is kept --------------------------------------------------------------------------------------------

const TIERS = {
  raw: ["Every sample", "value"], minute: ["Mean, low and high of each minute", "value"],
  archive: ["Curves of ended jobs", "value"], jobs: ["Footprints of ended jobs", "job"], log: ["Taken in, not in files yet", ""],
}
const SOURCES = {slurmdbd: "out of slurmdbd", local: "of this machine", sacct: "out of listings of sacct"}

function kept(answer) {
  const {disk, telemetry, accounts, database} = answer
  return h("section", {class: "block table-block", "aria-labelledby": "admin-kept", key: "kept"},
    h("div", {class: "admin-head"}, h("h2", {id: "admin-kept"}, "What is kept"), h("span", {class: "quiet-text grow path"}, answer.data_dir)),
    h("div", {class: "admin-disk"}, meter({
      label: "Its file system", used: disk.used_bytes, total: disk.used_bytes + disk.free_bytes,
      words: `${onDisk(disk.used_bytes)} in use, ${onDisk(disk.free_bytes)} free`, tone: disk.free_bytes < 1e9 ? "bad" : "",
    })),
    telemetry.error ? notice("wait", `Telemetry can’t be read${telemetry.error_since_s ? ` since ${when(telemetry.error_since_s)}` : ""}: `, words(telemetry.error)) : null,
    accounts.error ? notice("wait", "The accounts can’t be read: ", accounts.error) : null,
    table("Table of what is kept", ["What", "On disk", "How much", "Oldest", "Newest", "Kept for"], [
      group("Telemetry of jobs"),
      telemetry.source === "prometheus" ? elsewhere("What agents measure", `at ${telemetry.url}`) : telemetry.kept.map(tier),
      group("Accounts"),
      accounts.clusters.length ? accounts.clusters.map(cluster) : line({key: "none", what: "Nothing has been read yet", under: words("`carme sync` reads them at once"), days: "–"}),
      group("The console’s own"),
      line({key: "database", what: "People, logins, sessions, reports, audit", under: database.address, size: database.size_bytes === null ? "on its server" : onDisk(database.size_bytes), days: "until removed"}),
    ], "admin-kept"))
}

const group = (name) => h("tr", {class: "admin-group", key: `group-${name}`}, h("th", {scope: "colgroup", colspan: "6"}, name))

function line({key, what, under, size, much, since, until, days, setting}) {
  const cell = (label, text) => h("td", {"data-label": label, class: text ? "num" : "num none", key: label}, text || "–")
  return h("tr", {key},
    h("th", {scope: "row"}, what, under ? h("span", {class: "quiet-text admin-under"}, under) : null),
    cell("On disk", size), cell("How much", much), cell("Oldest", since && full(since)), cell("Newest", until && full(until)),
    h("td", {"data-label": "Kept for"}, days, setting ? h("code", {class: "quiet-text admin-under"}, setting) : null))
}

const elsewhere = (what, words) => line({key: what, what, under: words, size: "not here", days: "as it is set there"})

function tier(each) {
  const [what, unit] = TIERS[each.tier]
  return line({
    key: each.tier, what, size: onDisk(each.size_bytes), much: each.rows === null ? "" : many(each.rows, unit), since: each.since_s, until: each.until_s,
    days: each.days === null ? "some minutes" : each.days ? `${many(each.days, "day")}${each.tier === "minute" ? " more" : ""}` : "ever", setting: each.setting,
  })
}

const cluster = (each) => line({
  key: `cluster-${each.name}`, what: each.name,
  under: each.error ? [badge(["bad", "✕", "Can’t be read"]), ` ${each.error_since_s ? `since ${when(each.error_since_s)}: ` : ""}${each.error}`]
    : each.progress !== null ? `first load, ${Math.round(100 * each.progress)} %` : SOURCES[each.source] || each.source,
  size: onDisk(each.size_bytes), much: many(each.rows, "job"), since: each.since_s, until: each.until_s, days: "ever",
})

// -- audit ---------------------------------------------------------------------------------------------------

function audit(app, own) {
  const wanted = question(app.route.query)
  const set = (changes) => app.query(changes, {replace: true})
  const any = wanted.text || wanted.kind || wanted.outcome
  return h("section", {class: "block table-block", "aria-labelledby": "admin-audit", key: "audit"},
    h("div", {class: "admin-head"},
      h("h2", {id: "admin-audit"}, "Audit"),
      h("span", {class: "quiet-text grow"}, "who changed what"),
      h("span", {class: "find", key: "find"}, icon("search"), h("input", {type: "search", "aria-label": "Find lines by who acted or what it was done to", placeholder: "Person or target …", value: wanted.text,
        oninput: (event) => {
          clearTimeout(own.typing)
          const text = event.target.value.trim()
          own.typing = setTimeout(() => set({text}), TYPING_MS)
        }})),
      h("label", {key: "kind"}, h("span", {class: "unseen"}, "Kind"), select({id: "admin-kind", value: wanted.kind, options: [{value: "", label: "Any kind"}, ...[...new Set([...own.kinds, wanted.kind])].filter(Boolean).map((kind) => ({value: kind, label: kind}))], onchange: (kind) => set({kind})})),
      h("label", {key: "outcome"}, h("span", {class: "unseen"}, "Outcome"), select({id: "admin-outcome", value: wanted.outcome, options: [{value: "", label: "Any outcome"}, ...Object.entries(OUTCOMES).map(([value, look]) => ({value, label: look[2]}))], onchange: (outcome) => set({outcome})}))),
    own.auditError ? empty("The audit can’t be shown", own.auditError)
      : !own.audit ? skeleton(6)
        : own.audit.length ? [
          table("Table of the audit", ["When", "Who", "Did", "To", "Outcome", "From"], own.audit.map(auditLine), "admin-audit"),
          own.more ? h("button", {type: "button", class: "button", key: "older", onclick: () => older(app)}, "Show older ones") : null,
        ] : any ? empty("No line fits", "Take a filter away to see more.", h("button", {type: "button", class: "button", onclick: () => set({text: null, kind: null, outcome: null})}, "Clear filters")) : empty("Nothing was changed yet"))
}

const auditLine = (each) =>
  h("tr", {key: `${each.id}`},
    h("th", {scope: "row", class: "num"}, h("span", {title: full(each.time_s)}, when(each.time_s))),
    h("td", {"data-label": "Who"}, h("span", {class: "clip", title: each.actor}, each.actor)),
    h("td", {"data-label": "Did"}, each.action),
    h("td", {"data-label": "To", class: "admin-words"}, each.target, details(each.detail)),
    h("td", {"data-label": "Outcome"}, badge(OUTCOMES[each.outcome] || ["wait", "–", each.outcome])),
    h("td", {"data-label": "From", class: "num"}, each.address || "–"))

const details = (detail) => {
  const words = Object.entries(detail || {}).map(([name, value]) => `${name}: ${typeof value === "number" ? count(value) : typeof value === "string" ? value : JSON.stringify(value)}`)
  return words.length ? h("span", {class: "quiet-text admin-under"}, words.join(" · ")) : null
}
