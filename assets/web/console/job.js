// Job: one job, running or long over. What is shown stands in the address: ?id=…&cluster=…&submit=…&run=…&from=…&to=….
import {h} from "./dom.js"
import {count, when} from "./format.js"
import {icon} from "./icons.js"
import {badge, empty, go, notice, skeleton} from "./ui.js"
import {actions} from "./job/actions.js"
import {chartGroups} from "./job/charts.js"
import {ask as askCurves, follow, fresh, settle, stop, wanted} from "./job/curves.js"
import {belongs, resources} from "./job/facts.js"
import {STATES, jobHref} from "./job/names.js"
import {papers} from "./job/papers.js"
import {timeline} from "./job/timeline.js"
import {verdicts} from "./job/verdicts.js"

export const title = "Job"
export const topics = () => ["mine"]

const state = (app) => (app.state.job ??= {key: "", job: null, error: "", open: {}, tables: new Set(), taken: 0, curves: null, stages: new Map()})

const number = (query, name) => {
  const text = query.get(name) || ""
  return /^\d{1,15}$/.test(text) ? Number(text) : 0
}

const which = (query) => ({id: number(query, "id"), cluster: query.get("cluster") || "", submit: number(query, "submit")})

export function enter(app) {
  const own = state(app)
  own.stages = new Map()
  look(app)
  if (own.job) begin(app, own)
}

export const moved = (app) => look(app)

export function leave(app) {
  stop(state(app))
}

export function arrived(app, topic) {
  if (topic !== "fresh") return
  const own = state(app)
  const taken = app.topic("fresh")?.taken_s
  if (!own.job || !taken || taken === own.taken) return
  own.taken = taken // once for each look at the queue
  if (own.job.in_queue || !own.job.over) look(app, true)
}

function look(app, again = false) {
  const own = state(app)
  const {query} = app.route
  const wants = which(query)
  const key = JSON.stringify(wants)
  zoomFrom(app, own, query)
  if (own.key === key && !again) return
  if (own.key !== key) {
    stop(own)
    Object.assign(own, {job: null, error: "", verdict: null, verdictKey: "", papers: {}, curves: null, stages: new Map(), copied: ""})
  }
  own.key = key
  if (!wants.id) return
  app.call("job.show", wants).then((job) => {
    if (own.key !== key) return
    const before = own.job
    own.job = job
    own.error = ""
    own.papers ??= {}
    if (!before) begin(app, own)
    else if (before.running !== job.running || before.runs.length !== job.runs.length) begin(app, own)
    app.render()
  }, (error) => {
    if (own.key !== key) return
    if (!own.job) own.error = error.message
    app.render()
  })
}

/** The job is known: ask for what was measured of it. */
function begin(app, own) {
  if (app.route.page !== "job") return
  own.run = number(app.route.query, "run")
  own.curves ??= fresh(app, (zoom) => app.query({from: zoom && Math.floor(zoom.from), to: zoom && Math.ceil(zoom.to)}, {replace: !!own.zoom}))
  own.curves.running = own.job.running
  askCurves(app, own, wanted(own), () => judge(app, own))
  if (own.job.running) follow(app, own)
  else stop(own)
}

function judge(app, own) {
  const {job} = own
  const key = JSON.stringify([own.key, own.run, job.state, job.attempts.length])
  if (own.verdictKey === key) return
  own.verdictKey = key
  app.call("job.verdict", {...which(app.route.query), id: job.job_id, run: own.run || 0}).then((found) => {
    if (own.verdictKey !== key) return
    own.verdict = found
    app.render()
  }, () => { own.verdictKey = "" })
}

/** A stretch that was drawn, or another attempt: the same charts at once, then finer or other points. */
function zoomFrom(app, own, query) {
  const [from, to] = [number(query, "from"), number(query, "to")]
  const zoom = from && to > from ? {from, to} : null
  const run = number(query, "run")
  const changed = JSON.stringify(zoom) !== JSON.stringify(own.zoom || null)
  const other = run !== (own.run || 0)
  own.zoom = zoom
  if (!own.job || !own.curves || (!changed && !other)) return
  if (other) {
    own.run = run
    own.curves = null
    own.stages = new Map()
    begin(app, own)
    return
  }
  settle(app, own)
  askCurves(app, own, [...new Set([...wanted(own), ...own.curves.groups.keys()])])
}

export function view(app) {
  const own = state(app)
  const {id} = which(app.route.query)
  const {job} = own
  if (own.curves && own.curves.board.look.dark !== app.theme.dark) settle(app, own)
  return {
    body: [
      h("div", {class: "head job-page-head", key: "head"},
        h("h1", {class: "num"}, id ? `Job ${job ? job.label : id}` : "Job"),
        job ? badge(STATES[job.state] || ["over", "–", job.state], (job.flags || []).includes("COMPLETING") ? "Completing" : null) : null,
        job ? h("span", {class: "job-name job-title"}, job.session ? sessionName(app, job) : job.name) : null,
        job ? h("div", {class: "head-tools"}, actions(app, own, () => look(app, true))) : null),
      !id ? search(app) : own.error ? empty("Nothing to show", own.error, go(app, "/jobs", {class: "button"}, icon("jobs"), "To the queue")) : !job ? skeleton(12) : content(app, own),
    ],
  }
}

function sessionName(app, job) {
  return go(app, `/sessions?session=${job.session.id}`, {class: "session-link"}, icon("sessions"), app.topic("mine")?.sessions[job.session.id]?.name || job.name)
}

/** Without a number in the address. */
function search(app) {
  return h("section", {class: "block", "aria-label": "Find a job", key: "search"},
    h("form", {class: "inline", onsubmit: (event) => {
      event.preventDefault()
      const text = event.target.querySelector("input").value.trim()
      if (/^\d{1,15}$/.test(text)) app.query({id: text})
      else app.toast("A job’s number is wanted: digits alone.", "bad")
    }},
      h("label", {for: "job-number"}, "Job number"),
      h("input", {id: "job-number", type: "text", inputmode: "numeric", class: "short-input"}),
      h("button", {type: "submit", class: "button primary"}, icon("search"), "Show")),
    h("p", {class: "hint"}, "Any job of yours, running or long over; the number is in the queue, in Slurm’s mails and in the names of its files."))
}

function content(app, own) {
  const {job} = own
  return [
    others(app, job),
    job.words && job.state !== "COMPLETED" ? h("div", {class: `notice ${job.over ? (STATES[job.state]?.[0] === "bad" ? "bad" : "info") : "wait"}`, key: "words"}, icon(job.over ? "info" : "warn"),
      h("div", {}, h("strong", {}, job.words), !job.over && job.reason ? h("p", {class: "mono"}, job.reason) : null)) : null,
    job.problem ? h("div", {key: "problem"}, notice("wait", job.problem)) : null,
    verdicts(app, own.verdict),
    h("section", {class: "block", key: "timeline", "aria-label": "Timeline"}, timeline(app, own)),
    h("div", {class: "job-columns", key: "facts"},
      h("section", {class: "block", "aria-label": "Resources"}, h("div", {class: "block-head"}, h("h2", {}, "Resources")), resources(job, own.verdict?.footprint)),
      h("section", {class: "block", "aria-label": "Belongs to"}, h("div", {class: "block-head"}, h("h2", {}, "Belongs to")), belongs(app, job))),
    own.curves ? h("div", {class: "curve-groups", key: "charts"}, measuredHead(app, own), charts(app, own)) : skeleton(6),
    job.may_read ? papers(app, own, which(app.route.query)) : null,
    job.scheduler === "slurm" && job.start_s && job.state !== "PENDING" ? h("p", {class: "hint", key: "more"}, `Its steps are kept by Slurm alone: `, h("code", {}, `sacct -j ${job.label.replace(/\[.*/, "")} --format=JobID,JobName,State,Elapsed,MaxRSS,TotalCPU`)) : null,
  ]
}

function others(app, job) {
  if (!job.others.length) return null
  return h("div", {class: "notice info", key: "others"}, icon("info"), h("div", {},
    h("strong", {}, `${count(job.others.length)} other ${job.others.length === 1 ? "job" : "jobs"} had the number ${job.job_id}: `),
    h("ul", {class: "namesakes"}, job.others.map((each) => h("li", {key: `${each.cluster}-${each.origin_s}`},
      go(app, jobHref({job_id: job.job_id, ...each}), {}, each.name || "without a name"), h("span", {class: "quiet-text"}, ` ${each.user} · ${each.cluster} · ${when(each.start_s ?? each.origin_s)}`))))))
}

function measuredHead(app, own) {
  const {job, curves} = own
  const query = new URLSearchParams({cluster: job.cluster, submit: job.origin_s})
  if (own.run) query.set("run", own.run)
  if (own.zoom) { query.set("since_s", own.zoom.from); query.set("until_s", own.zoom.to) }
  const there = curves.groups.size && !curves.absent
  return h("div", {class: "curves-head", key: "head"},
    h("h2", {}, "What it did"),
    there ? h("span", {class: "hint"}, own.job.running ? "Live, every 10 s. " : "", "Drag over a curve to look closer.") : null,
    h("span", {class: "grow"}),
    there ? h("a", {class: "button", href: `/downloads/job/${job.job_id}.csv?${query}`, download: ""}, icon("save"), "CSV") : null,
    go(app, `/compare?jobs=${job.job_id}@${job.origin_s}@${job.cluster}`, {class: "button"}, icon("chart"), "Compare"))
}

function charts(app, own) {
  const {job, curves} = own
  return chartGroups(app, {
    curves, groups: job.groups, open: own.open, tables: own.tables, stages: own.stages, gpus: job.gpus, waits: !job.over, title: `job ${job.label}`,
    onopen: (name, open) => {
      own.open[name] = open
      if (open && !curves.groups.has(name)) askCurves(app, own, [name])
      app.render()
    },
    resetZoom: () => app.query({from: null, to: null}),
    again: () => askCurves(app, own, wanted(own), () => judge(app, own)),
  })
}
