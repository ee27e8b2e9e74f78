// The history: all jobs that ended and those that run. What is asked stands in the address; the server filters, sorts
// and pages; what jobs used comes after, so that a page never waits for it.
import {h} from "./dom.js"
import {JOB_STATES, count, full, gpuWords, many, memory, now, span, when} from "./format.js"
import {filters} from "./history/filters.js"
import {bulkTag, editMarks, keyOf, loadFilters} from "./history/marks.js"
import {NONE, SORTS, anyFilter, question} from "./history/words.js"
import {icon} from "./icons.js"
import {path} from "./sessions/spark.js"
import {badge, empty, go, select, skeleton} from "./ui.js"

const MOST_KEPT = 500 // jobs of which it is remembered what they used
const LINE = {width: 96, height: 24}
const GLYPHS = {good: "●", fair: "◐", low: "○", full: "▲", none: "–"}

export const state = (app) => (app.state.history ??= {answer: null, error: "", asked: null, used: new Map(), picked: new Map(), filters: null, adding: null, totals: null})

/** `again`: one comes from another page, and jobs have ended meanwhile. */
export function enter(app, again = false) {
  const own = state(app)
  if (!own.filters) loadFilters(app, own)
  ask(app, again)
}

function ask(app, again = false) {
  const own = state(app)
  const query = question(app.route.query)
  if (own.asked === query && !again && !own.error) return
  own.asked = query
  own.error = ""
  app.call("jobs.history", {query}).then((answer) => {
    if (own.asked !== query) return
    own.answer = answer
    own.shown = query
    if (own.used.size > MOST_KEPT) own.used = new Map()
    own.problem = ""
    own.picked = new Map()
    app.render()
    look(app, own, query)
  }, (error) => {
    if (own.asked !== query) return
    own.error = error.message
    own.wrong = error.problems?.length > 0
    app.render()
  })
}

/** What the jobs of the page used. */
function look(app, own, query) {
  const jobs = own.answer.rows.filter((job) => job.start_s !== null).map(keyOf)
  own.looking = jobs.length > 0
  if (!jobs.length) return
  app.call("jobs.bars", {jobs}).then((answer) => {
    if (own.shown !== query) return
    own.looking = false
    for (const each of answer.jobs) own.used.set(each.job.join("~"), each)
    own.problem = answer.problem
    app.render()
  }, (error) => {
    if (own.shown !== query) return
    own.looking = false
    own.problem = error.message
    app.render()
  })
}

export const summary = (app) => {
  const {answer} = state(app)
  if (!answer) return " "
  const number = answer.exact ? many(answer.total, "job") : `${count(rounded(answer.total))}+ jobs`
  return [h("span", {title: answer.exact ? undefined : "At least so many; they were not all counted"}, number),
    answer.as_of_s ? h("span", {class: "quiet-text"}, ` · accounts as of ${when(answer.as_of_s)}`) : null]
}

/** At least so many: down to what reads well. */
function rounded(number) {
  const step = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, number))))
  return number >= 1000 ? Math.floor(number / (step / 10)) * (step / 10) : number
}

export function body(app) {
  const own = state(app)
  return [filters(app, own), h("section", {class: "block table-block", "aria-label": "History", key: "history"}, table(app, own))]
}

function table(app, own) {
  const {query} = app.route
  if (own.error && own.wrong) return empty("This can’t be asked", own.error, h("button", {type: "button", class: "button", onclick: () => app.query(NONE)}, icon("close"), "Clear filters"))
  if (own.error) return empty("The history can’t be shown", own.error, h("button", {type: "button", class: "button", onclick: () => ask(app, true)}, icon("again"), "Try again"))
  if (!own.answer) return skeleton(10)
  const {answer} = own
  if (!answer.rows.length) return nothing(app, query, answer)
  const everyone = query.get("who") === "all"
  return [
    tools(app, own, query),
    own.problem ? h("p", {class: "hint history-hint", role: "status", key: "away"}, `What was measured can’t be read now (${own.problem}); bars show what Slurm’s accounts have.`) : null,
    h("div", {class: "table-wrap" + (own.asked !== own.shown ? " waiting" : ""), tabindex: "0", role: "region", "aria-label": "Table of jobs", key: "table", onkeydown: walk},
      h("table", {class: "table history"},
        h("thead", {}, h("tr", {}, h("th", {scope: "col", class: "pick"}, all(app, own, answer)),
          ["Job", everyone ? "Whose" : "Account", "Ended", "Had", "Used", "Over its life"].map((title) => h("th", {scope: "col", key: title}, title)))),
        h("tbody", {}, answer.rows.map((job) => line(app, own, job, everyone))))),
    pager(app, answer),
  ]
}

function nothing(app, query, answer) {
  if (query.get("after") || query.get("before")) return empty("There is nothing on this page any more", "", h("button", {type: "button", class: "button", onclick: () => app.query({after: null, before: null})}, "To the first page"))
  if (answer.as_of_s === null) return empty("No accounts yet", "Ended jobs show here when the accounts have been read for the first time.")
  if (anyFilter(query)) return empty("No job matches", "Take a filter away, or look at a longer time.")
  return empty(query.get("who") === "all" ? "No jobs in this time" : "No jobs of yours in this time", "", h("button", {type: "button", class: "button", onclick: () => app.query({window: "all", since: null, until: null})}, "Look at all years"))
}

function tools(app, own, query) {
  const sort = query.get("sort") || "end_s"
  const rising = query.get("order") === "asc"
  const set = (changes) => app.query({...changes, after: null, before: null}, {replace: true})
  const picked = [...own.picked.values()]
  return h("div", {class: "history-tools", key: "tools"},
    picked.length ? [h("span", {class: "num", key: "number"}, `${many(picked.length, "job")} selected`),
      h("button", {type: "button", class: "button", key: "tag", onclick: () => bulkTag(app, picked, () => { own.picked = new Map(); ask(app, true) })}, "Tag them"),
      h("button", {type: "button", class: "button quiet", key: "none", onclick: () => { own.picked = new Map(); app.render() }}, "Select none")] : null,
    h("span", {class: "grow"}),
    h("label", {for: "history-sort", class: "quiet-text"}, "Sorted by"),
    select({id: "history-sort", value: sort, options: SORTS.map(([value, label]) => ({value, label})), onchange: (value) => set({sort: value === "end_s" ? null : value})}),
    h("button", {type: "button", class: "button", "aria-label": rising ? "Smallest or earliest first: turn round" : "Largest or latest first: turn round", onclick: () => set({order: rising ? null : "asc"})}, rising ? "↑" : "↓"))
}

function all(app, own, answer) {
  const keys = answer.rows.map((job) => keyOf(job).join("~"))
  const every = keys.every((key) => own.picked.has(key))
  return h("input", {type: "checkbox", "aria-label": "Select all jobs of this page", checked: every, onchange: () => {
    for (const [at, key] of keys.entries()) if (every) own.picked.delete(key); else own.picked.set(key, answer.rows[at])
    app.render()
  }})
}

// -- a row ---------------------------------------------------------------------------------------------------

function line(app, own, job, everyone) {
  const key = keyOf(job).join("~")
  const used = own.used.get(key)
  const waits = own.looking && !used && job.start_s !== null
  const look = JOB_STATES[job.state] || ["over", "–", job.state]
  const cell = (label, content, props) => h("td", {"data-label": label, key: label, ...props}, content)
  return h("tr", {key, class: own.picked.has(key) ? "picked" : undefined},
    h("td", {class: "pick", key: "pick"}, h("input", {type: "checkbox", "aria-label": `Select job ${job.label}`, checked: own.picked.has(key), onchange: () => {
      if (!own.picked.delete(key)) own.picked.set(key, job)
      app.render()
    }})),
    h("th", {scope: "row", key: "job", class: "job-facts"},
      h("div", {class: "job-line"}, go(app, `/job?id=${job.job_id}&cluster=${encodeURIComponent(job.cluster)}&submit=${job.origin_s}`, {class: "num job-link"}, job.label), h("bdi", {class: "clip job-title", title: job.name}, job.name)),
      h("div", {class: "job-marks"}, job.attempt > 1 ? h("span", {class: "quiet-text"}, many(job.attempt, "attempt")) : null, job.app ? h("span", {class: "quiet-text"}, job.app) : null,
        job.tags.map((tag) => h("button", {type: "button", class: "tag", key: tag, title: `Jobs with the tag ${tag}`, onclick: () => app.query({tag, after: null, before: null})}, tag)),
        job.note ? h("span", {class: "note", title: job.note_by ? `${job.note_by}: ${job.note}` : job.note}, "✎ ", h("bdi", {class: "clip"}, job.note)) : null,
        job.may_mark ? h("button", {type: "button", class: "as-link mark", "aria-label": `Tags and note of job ${job.label}`, onclick: () => editMarks(app, job, () => app.render())}, job.tags.length || job.note ? "Edit" : "Add tag") : null)),
    cell(everyone ? "Whose" : "Account", [everyone ? h("button", {type: "button", class: "as-link", title: `Only jobs of ${job.user}`, onclick: () => app.query({user: job.user, after: null, before: null})}, job.user || "–") : null,
      h("span", {class: "clip short under-line", title: job.account || ""}, job.account || "–")]),
    cell("Ended", [badge(look), h("span", {class: "num under-line", title: job.end_s ? full(job.end_s) : ""}, job.end_s ? when(job.end_s) : job.start_s ? `runs ${span(now() - job.start_s)}` : "waits"),
      job.end_s && job.wall_s !== null ? h("span", {class: "quiet-text num under-line"}, `ran ${span(job.wall_s)}`) : null]),
    cell("Had", [h("span", {class: "num"}, had(job)), h("span", {class: "quiet-text under-line"}, [job.partition, job.nodes > 1 ? many(job.nodes, "node") : null].filter(Boolean).join(" · "))]),
    cell("Used", bars(used?.bars || job.bars, waits), {class: "used"}),
    cell("Over its life", sparkline(used?.spark, waits), {class: "life"}))
}

const had = (job) => (job.start_s === null ? "nothing: it never ran" : [gpuWords(job), many(job.cpus, "CPU"), job.mem_mb ? memory(job.mem_mb) : null].filter(Boolean).join(", "))

const bars = (found, waits) => h("div", {class: "use-bars"}, found.map((bar) =>
  h("div", {class: `use-bar ${bar.level}`, key: bar.name, role: "img", title: bar.words, "aria-label": `${bar.name}: ${bar.words}${bar.percent === null ? "" : ` (${bar.said})`}`},
    h("span", {class: "use-name"}, bar.name),
    h("span", {class: "use-track"}, bar.percent === null ? null : h("i", {style: {width: `${Math.min(100, bar.percent)}%`}})),
    h("span", {class: "use-words num"}, bar.percent === null ? (waits ? "…" : "not known") : [h("span", {class: "glyph"}, GLYPHS[bar.level]), ` ${Math.round(bar.percent)} % ${bar.said}`]))))

function sparkline(spark, waits) {
  if (waits) return h("span", {class: "quiet-text"}, "…")
  if (!spark) return h("span", {class: "quiet-text", title: "No samples of it were taken"}, "not measured")
  return h("div", {class: "life-line", role: "img", "aria-label": `${spark.name} over its life: ${spark.mean} % on average`, title: `${spark.name}: ${spark.mean} % on average`},
    h("svg", {viewBox: `0 0 ${LINE.width} ${LINE.height}`, width: LINE.width, height: LINE.height}, h("line", {x1: 0, x2: LINE.width, y1: LINE.height - 0.5, y2: LINE.height - 0.5, class: "spark-base"}), h("path", {d: path(spark.points, LINE.width, LINE.height)})),
    h("span", {class: "quiet-text num"}, `${spark.name} ${spark.mean} %`))
}

/** Up and down go from job to job; Enter on the job's number opens it, as on any link. */
function walk(event) {
  const step = {ArrowDown: 1, ArrowUp: -1}[event.key]
  if (!step || ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName) && event.target.type !== "checkbox") return
  const links = [...event.currentTarget.querySelectorAll(".job-link")]
  const at = links.findIndex((link) => link.closest("tr").contains(event.target))
  const next = links[at < 0 ? 0 : Math.max(0, Math.min(links.length - 1, at + step))]
  if (next) {
    event.preventDefault()
    next.focus()
  }
}

function pager(app, answer) {
  if (!answer.after && !answer.before) return null
  const to = (place) => { app.query({after: null, before: null, ...place}); app.root.querySelector("#content").scrollTo(0, 0) }
  return h("div", {class: "pager", role: "navigation", "aria-label": "Pages of the history", key: "pager"},
    h("button", {type: "button", class: "button", disabled: !answer.before, onclick: () => to({before: answer.before})}, "Previous"),
    h("button", {type: "button", class: "button", disabled: !answer.after, onclick: () => to({after: answer.after})}, "Next"))
}
