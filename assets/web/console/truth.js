// Truth: a month of the console beside sreport and sacct, every difference with its reason.
import {h} from "./dom.js"
import {clock, count, full, many, span, when} from "./format.js"
import {icon} from "./icons.js"
import {badge, empty, notice, select, skeleton} from "./ui.js"

export const title = "Truth"
export const topics = () => ["truth"]

const LOOK_MS = 3000 // while a comparison is awaited
const TRES = {cpu: "CPU", "gres/gpu": "GPU", node: "Node", mem: "Memory", billing: "Billing"}
const REASONS = {
  reservation: "idle reservations", imported: "imported jobs", purged: "purged before the console read them",
  gone: "purged since", suspended: "suspended time", suspended_now: "suspended right now",
  requeued: "requeued or resized attempts", running: "jobs still running", nowhere: "jobs without a node",
  suspended_counted: "suspended time counted",
}

const state = (app) => (app.state.truth ??= {answer: null, error: "", asked: "", busy: false, timer: 0})

function question(query) {
  return {cluster: query.get("cluster") || "", month: query.get("month") || "", tres: query.get("tres") || "cpu"}
}

export const enter = (app) => look(app)
export const moved = (app) => look(app)

export function leave(app) {
  clearTimeout(state(app).timer)
}

function look(app, again = false) {
  const own = state(app)
  const wanted = question(app.route.query)
  const key = JSON.stringify(wanted)
  clearTimeout(own.timer)
  if (own.asked === key && own.answer && !again) {
    await_(app)
    return
  }
  own.asked = key
  app.call("truth.look", wanted).then((answer) => {
    if (own.asked !== key) return
    own.answer = answer
    own.error = ""
    await_(app)
    app.render()
  }, (error) => {
    if (own.asked !== key) return
    own.error = error.message
    app.render()
  })
}

const waiting = (answer) => answer?.newest && answer.newest.ended_s === null

function await_(app) {
  const own = state(app)
  clearTimeout(own.timer)
  if (waiting(own.answer) && app.route.page === "truth") own.timer = setTimeout(() => look(app, true), LOOK_MS)
}

function compare(app) {
  const own = state(app)
  own.busy = true
  app.render()
  app.call("truth.ask", {cluster: own.answer.cluster, month: own.answer.month}).then(() => {
    own.busy = false
    app.say("The comparison begins.")
    look(app, true)
  }, (error) => {
    own.busy = false
    app.toast(error.message, "bad")
  })
}

export function view(app) {
  const own = state(app)
  const {answer} = own
  return {
    body: [
      h("div", {class: "head", key: "head"}, h("h1", {}, "Truth"), h("p", {class: "sub"}, "The console’s figures beside Slurm’s own tools"), answer ? tools(app, own) : null),
      own.error ? h("section", {class: "block", key: "error"}, empty("Nothing to show", own.error))
        : !answer ? h("section", {class: "block", key: "wait"}, skeleton(8))
          : !answer.cluster ? h("section", {class: "block", key: "none"}, nothing(answer))
            : [verdict(app, own), answer.made?.lines ? figures(app, own) : null, history(app, answer)],
    ],
  }
}

function nothing(answer) {
  return answer.source === "slurmdbd"
    ? empty("The accounts have not been read yet", "Once slurmdbd’s database has been read, a month can be compared.")
    : empty("There is nothing to compare", "The accounts here do not come from slurmdbd, so sreport and sacct know nothing of them.")
}

const monthName = (month) => new Intl.DateTimeFormat("en-GB", {month: "long", year: "numeric", timeZone: "UTC"}).format(new Date(`${month}-15T00:00:00Z`))

function tools(app, own) {
  const {answer} = own
  if (!answer.cluster) return null
  const months = answer.months.includes(answer.month) ? answer.months : [answer.month, ...answer.months]
  return h("div", {class: "head-tools truth-tools"},
    answer.clusters.length > 1 ? h("label", {key: "cluster"}, h("span", {class: "unseen"}, "Cluster"), select({id: "truth-cluster", value: answer.cluster, options: answer.clusters.map((name) => ({value: name, label: name})), onchange: (value) => app.query({cluster: value})})) : null,
    h("label", {key: "month"}, h("span", {class: "unseen"}, "Month"), select({id: "truth-month", value: answer.month, options: months.map((month) => ({value: month, label: monthName(month)})), onchange: (value) => app.query({month: value})})),
    h("button", {type: "button", class: "button primary", disabled: own.busy || waiting(answer), onclick: () => compare(app)}, icon("again"), waiting(answer) ? "Comparing …" : "Compare now"))
}

// -- what came of it ---------------------------------------------------------------------------------------

function verdict(app, own) {
  const {answer} = own
  const {made, newest} = answer
  const running = waiting(answer) ? notice("info", newest.started_s ? `Being compared since ${clock(newest.started_s)}. A month of a large site takes minutes.` : "Waiting for the collector to begin.") : null
  const failed = newest && newest.ended_s !== null && newest.error ? notice("wait", h("strong", {}, `Not compared at ${when(newest.ended_s)}: `), newest.error) : null
  if (!made) {
    return h("section", {class: "block", "aria-label": "Result", key: "verdict"}, running, failed,
      running || failed ? null : empty(`${monthName(answer.month)} has not been compared yet`, "It takes seconds to minutes, and asks slurmdbd as sreport and sacct do."))
  }
  const apart = Object.values(made.parted).reduce((sum, number) => sum + number, 0)
  return h("section", {class: "block truth-verdict", "aria-label": "Result", key: "verdict"}, running, failed,
    h("div", {class: "truth-result"},
      made.agrees ? badge(["good", "✓", "Agrees to the second"]) : badge(["bad", "✕", apart ? `${many(apart, "figure")} differ without a reason` : "Not all of it could be read"]),
      h("span", {class: "quiet-text"}, `${full(made.since_s)} to ${full(made.until_s)} · ${many(made.sacct_rows, "row")} of sacct · compared ${when(made.ended_s)} in ${made.took_s} s`)),
    made.problems?.length ? h("ul", {class: "truth-problems"}, made.problems.map((words, at) => h("li", {key: `${at}`}, words))) : null,
    h("p", {class: "quiet-text", key: "open"}, openHours(made)))
}

function openHours(made) {
  const words = []
  const later = made.later?.[made.shown]
  if (made.until_s < made.month_until_s) words.push(later ? `Since ${full(made.until_s)} slurmdbd has rolled nothing up yet: another ${amount(later, made.shown)} are on the console only.` : `slurmdbd has rolled up until ${full(made.until_s)}.`)
  const running = made.running?.[made.shown]
  if (running) words.push(`${amount(running, made.shown)} of the console’s are of jobs that had not ended.`)
  return words.join(" ")
}

// -- figures -----------------------------------------------------------------------------------------------

const grouped = new Intl.NumberFormat("en-GB", {minimumFractionDigits: 2, maximumFractionDigits: 2})
const UNITS = {cpu: "CPU h", "gres/gpu": "GPU h", node: "node h", mem: "GB h", billing: "billing h"}
const perHour = (tres) => (tres === "mem" ? 3600 * 1024 : 3600)
const hours = (value, tres) => grouped.format(value / perHour(tres))
const amount = (value, tres) => `${hours(value, tres)} ${UNITS[tres]}`

/** A difference with its sign; one that hours would hide is told in seconds. */
function signed(value, tres) {
  const sign = value < 0 ? "−" : "+"
  const size = Math.abs(value)
  return size < perHour(tres) / 100 ? `${sign}${count(size)} s` : `${sign}${hours(size, tres)}`
}

function figures(app, own) {
  const {made} = own.answer
  const users = app.route.query.get("users") === "1"
  const lines = made.lines.filter((line) => users || !line.user)
  const used = new Set()
  for (const line of lines) for (const side of [line.sreport, line.sacct, line.xdmod]) for (const reason in side.parts) used.add(reason)
  const tres = made.shown
  return h("section", {class: "block table-block", "aria-label": "Figures", key: "figures"},
    h("div", {class: "truth-choice"},
      h("div", {class: "segmented", role: "group", "aria-label": "Resource"}, Object.entries(TRES).map(([name, label]) =>
        h("button", {type: "button", key: name, "aria-pressed": String(name === tres), onclick: () => app.query({tres: name === "cpu" ? null : name}, {replace: true})}, label, made.parted[name] ? h("span", {class: "truth-apart"}, ` ✕ ${made.parted[name]}`) : null))),
      h("button", {type: "button", class: "pill", "aria-pressed": String(users), onclick: () => app.query({users: users ? null : "1"}, {replace: true})}, "Users, too"),
      h("span", {class: "quiet-text truth-unit"}, `in ${UNITS[tres]}`)),
    lines.length ? h("div", {class: "table-wrap", tabindex: "0", role: "region", "aria-label": "Table of figures"},
      h("table", {class: "table stack truth"},
        h("thead", {}, h("tr", {}, ["Account", "Console", "sreport", "Why it differs", "sacct", "Why it differs", "XDMoD would show", "Why it differs"].map((label, at) =>
          h("th", {scope: "col", key: `${at}`, class: [1, 2, 4, 6].includes(at) ? "right" : undefined}, label)))),
        h("tbody", {}, lines.map((line) => row(line, tres))))) : empty("No usage in that time", "Neither the console nor Slurm’s tools know of any."),
    made.left_out ? h("p", {class: "quiet-text"}, `${many(made.left_out, "more user")} agree and are not listed.`) : null,
    used.size ? h("dl", {class: "truth-reasons"}, [...used].map((reason) => h("div", {key: reason}, h("dt", {}, REASONS[reason] || reason), h("dd", {}, own.answer.reasons[reason] || "")))) : null)
}

function row(line, tres) {
  const cell = (label, content, right) => h("td", {"data-label": label, class: right ? "num right" : "truth-why", key: label}, content)
  const number = (value) => h("span", {title: `${count(value)} seconds × ${TRES[tres]}${tres === "mem" ? " MB" : ""}`}, hours(value, tres))
  const sides = [["sreport", line.sreport], ["sacct", line.sacct], ["XDMoD", line.xdmod]]
  return h("tr", {key: `${line.account}|${line.user}`, class: line.user ? "truth-user" : undefined},
    h("th", {scope: "row", style: {"--depth": String(line.depth + (line.user ? 1 : 0))}}, line.user ? [h("span", {class: "quiet-text", "aria-hidden": "true"}, "· "), h("span", {class: "clip", title: line.user}, line.user)] : h("span", {class: "clip", title: line.account}, line.account)),
    cell("Console", number(line.console), true),
    sides.map(([name, side]) => [cell(name, number(side.value), true), cell(`${name} differs`, why(side, tres))]))
}

function why(side, tres) {
  const parts = Object.entries(side.parts)
  if (!parts.length && !side.rest) return h("span", {class: "truth-equal"}, h("span", {"aria-hidden": "true"}, "✓ "), "equal")
  return [
    parts.map(([reason, value]) => h("span", {class: "truth-part", key: reason, title: `${count(value)} s`}, h("span", {class: "num"}, signed(value, tres)), ` ${REASONS[reason] || reason}`)),
    side.rest ? h("span", {class: "truth-rest", key: "rest", title: `${count(side.rest)} s`}, badge(["bad", "✕", `${signed(side.rest, tres)} without a reason`])) : null,
  ]
}

// -- the last ones -----------------------------------------------------------------------------------------

function history(app, answer) {
  const nightly = answer.self_check_hour >= 0 ? `Every night at ${String(answer.self_check_hour).padStart(2, "0")}:00 (${answer.zone}) this month is compared, and soon after its start the one before.` : "No nightly comparison is set (accounting.self_check_hour)."
  return h("section", {class: "block", "aria-label": "Last comparisons", key: "last"}, h("h2", {}, "Last comparisons"), h("p", {class: "quiet-text"}, nightly),
    answer.last.length ? h("div", {class: "table-wrap", tabindex: "0", role: "region", "aria-label": "Table of comparisons"}, h("table", {class: "table stack"},
      h("thead", {}, h("tr", {}, ["When", "Cluster", "Month", "Asked by", "Outcome"].map((label) => h("th", {scope: "col", key: label}, label)))),
      h("tbody", {}, answer.last.map((check) => h("tr", {key: `${check.id}`},
        h("th", {scope: "row", class: "num"}, when(check.ended_s || check.asked_s)),
        h("td", {"data-label": "Cluster"}, check.cluster),
        h("td", {"data-label": "Month"}, h("button", {type: "button", class: "as-link", onclick: () => app.query({cluster: check.cluster, month: check.month})}, monthName(check.month))),
        h("td", {"data-label": "Asked by"}, check.asked_by === "console" ? "nightly" : check.asked_by),
        h("td", {"data-label": "Outcome"}, outcome(check))))))) : empty("None yet"))
}

function outcome(check) {
  if (check.ended_s === null) return badge(["busy", "◐", check.started_s ? `Being compared for ${span(Date.now() / 1000 - check.started_s)}` : "Waiting"])
  if (check.agrees === null) return [badge(["wait", "–", "Not compared"]), h("span", {class: "why"}, check.error)]
  return check.agrees ? badge(["good", "✓", "Agrees"]) : badge(["bad", "✕", "Differs"])
}
