// Jobs: the queue as a table. What is asked for stands in the address; the server filters, sorts, folds and pages.
import {h} from "./dom.js"
import {JOB_STATES, ahead, count, full, gpuWords, many, memory, now, span, when} from "./format.js"
import * as history from "./history.js"
import {bulk, bulkTag, loadFilters} from "./history/marks.js"
import {icon} from "./icons.js"
import {badge, drawer, empty, facts, go, skeleton, toggle} from "./ui.js"

export const title = "Jobs"
export const topics = () => ["mine"]

const TYPING_MS = 250
const COLUMNS = [
  ["job_id", "Job"], ["name", "Name"], ["user", "User"], ["account", "Account"], ["partition", "Partition"],
  ["state", "State"], ["start_s", "When"], ["time_limit_s", "Limit"], ["cpus", "CPUs"], ["gpus", "GPUs"], ["nodes", "Nodes"],
]
const MAIN_STATES = ["RUNNING", "PENDING", "SUSPENDED"]

const state = (app) => (app.state.jobs ??= {answer: null, error: "", asked: "", open: new Map(), job: null, jobError: "", jobAsked: 0, taken: 0, picked: new Map(), begun: false})

/** The question to the server that the address stands for. */
function question(query) {
  const list = (name) => (query.get(name) || "").split(",").filter(Boolean)
  const sort = query.get("sort") || "job_id"
  return {
    who: query.get("who") === "all" ? "all" : "own",
    state: list("state"), partition: list("partition"), account: list("account"), user: list("user"),
    gpu: query.get("gpu") === "1", text: query.get("text") || "",
    sort, desc: query.get("order") ? query.get("order") === "desc" : sort === "job_id",
    offset: Math.max(0, (Number(query.get("page")) || 1) - 1) * 100,
    fold: query.get("fold") !== "0",
  }
}

const past = (app) => app.route.query.get("view") === "history"

export function enter(app) {
  const own = state(app)
  if (!own.begun && !app.route.query.toString()) begin(app)
  own.begun = true
  if (past(app)) history.enter(app, true)
  else moved(app)
}

/** The filter that the person begins with, where the address says nothing. */
async function begin(app) {
  const first = (await loadFilters(app, history.state(app))).find((filter) => filter.start)
  if (first && app.route.page === "jobs" && !app.route.query.toString()) app.go(`/jobs?view=history&${first.query}`, {replace: true})
}

export function moved(app) {
  if (past(app)) return history.enter(app)
  ask(app)
  lookJob(app)
}

export function arrived(app, topic) {
  if (topic !== "fresh" || past(app)) return
  const fresh = app.topic("fresh")
  const own = state(app)
  if (own.answer && fresh && fresh.taken_s !== own.answer.taken_s && fresh.taken_s !== own.taken) {
    own.taken = fresh.taken_s // asked once for each look at the queue, whatever the answer
    ask(app, true)
    lookJob(app, true)
  }
}

function ask(app, again = false) {
  const own = state(app)
  const wanted = question(app.route.query)
  const key = JSON.stringify(wanted)
  if (own.asked === key && !again) return
  own.asked = key
  app.call("jobs.list", wanted).then((answer) => {
    if (own.asked !== key) return
    own.answer = answer
    own.error = ""
    own.key = key
    for (const id of own.open.keys()) expand(app, id)
    app.render()
  }, (error) => {
    if (own.asked !== key) return
    own.error = error.message
    app.render()
  })
}

function expand(app, id) {
  const own = state(app)
  own.open.set(id, own.open.get(id) || null)
  app.call("jobs.tasks", {...question(app.route.query), array_job_id: id}).then((answer) => {
    if (!own.open.has(id)) return
    own.open.set(id, answer)
    app.render()
  }, (error) => app.toast(error.message, "bad"))
}

function lookJob(app, again = false) {
  const own = state(app)
  const id = Number(app.route.query.get("job")) || 0
  if (!id) {
    own.job = null
    own.jobAsked = 0
    return
  }
  if (own.jobAsked === id && !again) return
  if (own.jobAsked !== id) own.job = null
  own.jobAsked = id
  own.jobError = ""
  app.call("jobs.job", {job_id: id}).then((job) => {
    if (own.jobAsked !== id) return
    own.job = job
    app.render()
  }, (error) => {
    if (own.jobAsked !== id) return
    own.jobError = error.message
    app.render()
  })
}

export function view(app) {
  const own = state(app)
  const wanted = question(app.route.query)
  if (past(app)) return {body: [head(app, wanted, history.summary(app)), history.body(app)]}
  const id = Number(app.route.query.get("job")) || 0
  return {
    body: [
      head(app, wanted, own.answer ? summary(own.answer) : " "),
      filters(app, own, wanted),
      h("section", {class: "block table-block", "aria-label": "Queue", key: "queue"}, table(app, own, wanted)),
    ],
    over: id ? jobDrawer(app, own, id) : null,
  }
}

/** What stands in the address of both, the filters that both know, stays when one goes from one to the other. */
function head(app, wanted, words) {
  const {query} = app.route
  const both = new URLSearchParams(["who", "user", "account", "partition"].filter((name) => query.get(name)).map((name) => [name, query.get(name)]))
  const way = (href, title, here) => h("button", {type: "button", "aria-pressed": String(here), onclick: () => here || app.go(href)}, title)
  return h("div", {class: "head", key: "head"}, h("h1", {}, "Jobs"), h("p", {class: "sub", role: "status"}, words),
    h("div", {class: "head-tools"},
      h("div", {class: "segmented", role: "group", "aria-label": "Which jobs"}, way(`/jobs?${both}`, "Queue", !past(app)), way(`/jobs?view=history${String(both) && "&" + both}`, "History", past(app))),
      app.boot.all_jobs ? h("div", {class: "segmented", role: "group", "aria-label": "Whose jobs"},
        h("button", {type: "button", "aria-pressed": String(wanted.who === "own"), onclick: () => app.query({who: null, page: null, user: null, after: null, before: null})}, "Mine"),
        h("button", {type: "button", "aria-pressed": String(wanted.who === "all"), onclick: () => app.query({who: "all", page: null, after: null, before: null})}, "All")) : null))
}

const summary = (answer) => answer.total === answer.jobs ? many(answer.jobs, "job") : `${many(answer.jobs, "job")} in ${many(answer.total, "row")}`

function filters(app, own, wanted) {
  const set = (changes) => app.query({...changes, page: null}, {replace: true})
  const flip = (name, value) => {
    const list = wanted[name].includes(value) ? wanted[name].filter((item) => item !== value) : [...wanted[name], value]
    set({[name]: list.join(",")})
  }
  const counts = own.answer?.states || {}
  const ended = Object.entries(counts).filter(([name]) => !MAIN_STATES.includes(name)).reduce((sum, [, number]) => sum + number, 0)
  const choices = (name, all) => {
    const values = [...new Set([...(all || []), ...wanted[name]])]
    if (values.length < 2 && !wanted[name].length) return null
    if (values.length > 8) {
      return h("span", {class: "picker", key: `${name}-select`},
        wanted[name].map((value) => removable(value, () => flip(name, value))),
        h("select", {"aria-label": `Filter by ${name}`, value: "", onchange: (event) => { if (event.target.value) flip(name, event.target.value); event.target.value = "" }},
          h("option", {value: ""}, `Any ${name}`), values.filter((value) => !wanted[name].includes(value)).map((value) => h("option", {key: value, value}, value))))
    }
    return values.map((value) => h("span", {class: "pill-wrap", key: `${name}-${value}`}, toggle(value, wanted[name].includes(value), () => flip(name, value))))
  }
  const known = Object.values(counts).reduce((sum, number) => sum + number, 0)
  if (!anyFilter(wanted) && own.answer && !known) return null // nothing to choose from
  const row = (name, content) => content && h("div", {class: "filter", role: "group", "aria-label": name, key: name}, h("span", {class: "filter-label"}, name), content)
  return h("section", {class: "block filters", "aria-label": "Filters", key: "filters"},
    h("div", {class: "filter", role: "group", "aria-label": "State"}, h("span", {class: "filter-label"}, "State"),
      MAIN_STATES.filter((name) => name !== "SUSPENDED" || counts[name] || wanted.state.includes(name)).map((name) =>
        h("span", {class: "pill-wrap", key: name}, toggle(JOB_STATES[name][2], wanted.state.includes(name), () => flip("state", name), counts[name] || 0))),
      h("span", {class: "pill-wrap", key: "ended"}, toggle("Ended lately", wanted.state.includes("ended"), () => flip("state", "ended"), ended)),
      h("span", {class: "find", key: "find"}, icon("search"), h("input", {type: "search", "aria-label": "Find jobs by number, name, user or account", placeholder: "Number, name, user …", value: wanted.text,
        oninput: (event) => {
          clearTimeout(own.typing)
          const text = event.target.value.trim()
          own.typing = setTimeout(() => set({text}), TYPING_MS)
        }}))),
    row("Partition", choices("partition", own.answer?.partitions)),
    row("Account", choices("account", own.answer?.accounts)),
    wanted.user.length ? row("User", wanted.user.map((value) => removable(value, () => flip("user", value)))) : null,
    h("div", {class: "filter", role: "group", "aria-label": "Show", key: "Show"}, h("span", {class: "filter-label"}, "Show"),
      h("span", {class: "pill-wrap", key: "gpu"}, toggle("Only with GPUs", wanted.gpu, () => set({gpu: wanted.gpu ? null : "1"}))),
      h("span", {class: "pill-wrap", key: "fold"}, toggle("Arrays folded", wanted.fold, () => set({fold: wanted.fold ? "0" : null}))),
      anyFilter(wanted) ? h("button", {type: "button", class: "button quiet clear", onclick: () => set({state: null, partition: null, account: null, user: null, gpu: null, text: null})}, icon("close"), "Clear filters") : null))
}

const anyFilter = (wanted) => wanted.state.length || wanted.partition.length || wanted.account.length || wanted.user.length || wanted.gpu || wanted.text
const removable = (value, onclick) => h("button", {type: "button", class: "pill", key: `x-${value}`, "aria-pressed": "true", "aria-label": `Remove filter ${value}`, onclick}, value, h("span", {"aria-hidden": "true"}, "✕"))

function table(app, own, wanted) {
  if (own.error) return empty("The queue can’t be shown", own.error)
  if (!own.answer) return skeleton(10)
  const {answer} = own
  if (!answer.rows.length) {
    if (anyFilter(wanted)) return empty("No job matches", "Take a filter away to see more.")
    return wanted.who === "own"
      ? empty("No jobs of yours in the queue", "What you start from Launch or submit with sbatch shows here.", go(app, "/launch", {class: "button primary"}, icon("launch"), "Launch a session"))
      : empty("The queue is empty")
  }
  const columns = COLUMNS.filter(([name]) => name !== "user" || wanted.who === "all")
  const pick = (name) => {
    const descending = wanted.sort === name ? !wanted.desc : ["priority", "cpus", "gpus", "nodes"].includes(name)
    app.query({sort: name, order: descending ? "desc" : "asc", page: null}, {replace: true})
  }
  const rows = []
  for (const job of answer.rows) {
    rows.push(line(app, own, wanted, job, false))
    if (job.folded && own.open.has(job.array_job_id)) {
      const tasks = own.open.get(job.array_job_id)
      if (!tasks) rows.push(h("tr", {key: `wait-${job.array_job_id}`, class: "task"}, h("td", {colspan: columns.length + 1}, "…")))
      else {
        for (const task of tasks.rows) rows.push(line(app, own, wanted, task, true))
        if (tasks.more) rows.push(h("tr", {key: `more-${job.array_job_id}`, class: "task"}, h("td", {colspan: columns.length + 1, class: "quiet-text"}, `and ${many(tasks.more, "more row")}; search for the number of a task to see it`)))
      }
    }
  }
  return [
    together(app, own, answer),
    h("div", {class: "table-wrap" + (own.asked !== own.key ? " waiting" : ""), tabindex: "0", role: "region", "aria-label": "Table of jobs", key: "table"},
      h("table", {class: "table stack jobs"},
        h("thead", {}, h("tr", {}, h("th", {scope: "col", class: "pick", key: "pick"}, pickAll(app, own, answer)), columns.map(([name, label]) => h("th", {scope: "col", key: name, class: numeric(name), "aria-sort": wanted.sort === name ? (wanted.desc ? "descending" : "ascending") : "none"},
          h("button", {type: "button", class: "sorter", onclick: () => pick(name)}, label, h("span", {"aria-hidden": "true"}, wanted.sort === name ? (wanted.desc ? " ↓" : " ↑") : "")))))),
        h("tbody", {}, rows))),
    pager(app, answer),
  ]
}

const numeric = (name) => (["cpus", "gpus", "nodes"].includes(name) ? "right" : undefined)

function line(app, own, wanted, job, task) {
  const look = JOB_STATES[job.state] || ["over", "–", job.state]
  const open = new URLSearchParams(app.route.query)
  open.set("job", job.job_id)
  const cell = (label, content, props) => h("td", {"data-label": label, key: label, ...props}, content)
  const flagged = (job.flags || []).includes("COMPLETING") ? "Completing" : null
  return h("tr", {key: `${task ? "t" : "j"}${job.job_id}-${job.label}`, class: task ? "task" : job.user === app.boot.viewer.name && wanted.who === "all" ? "own" : undefined},
    h("td", {class: "pick", key: "pick"}, h("input", {type: "checkbox", "aria-label": `Select job ${job.label}`, checked: own.picked.has(job.label), onchange: () => {
      if (!own.picked.delete(job.label)) own.picked.set(job.label, job)
      app.render()
    }})),
    h("th", {scope: "row", class: "num job-cell", key: "job"},
      job.folded && !task ? h("button", {type: "button", class: "folder", "aria-expanded": String(own.open.has(job.array_job_id)), "aria-label": `Tasks of ${job.label}`,
        onclick: () => { if (own.open.has(job.array_job_id)) { own.open.delete(job.array_job_id); app.render() } else expand(app, job.array_job_id) }}, icon(own.open.has(job.array_job_id) ? "down" : "right")) : null,
      go(app, `/jobs?${open}`, {}, job.label)),
    cell("Name", name(app, job)),
    wanted.who === "all" ? cell("User", h("button", {type: "button", class: "as-link", title: `Only jobs of ${job.user}`, onclick: () => app.query({user: job.user, page: null})}, job.user)) : null,
    cell("Account", h("span", {class: "clip short", title: job.account}, job.account)), cell("Partition", h("span", {class: "clip short", title: job.partition}, job.partition)),
    cell("State", [badge(look, flagged), job.folded && !task ? h("span", {class: "quiet-text num tasks"}, [job.tasks_running ? `${count(job.tasks_running)} running` : "", job.tasks_pending ? `${count(job.tasks_pending)} pending` : ""].filter(Boolean).join(", ")) : null,
      job.why ? h("span", {class: "why", title: `Slurm: ${job.reason}`}, job.why) : null]),
    cell("When", moment(job), {class: "num"}),
    cell("Limit", job.time_limit_s === null ? "none" : span(job.time_limit_s), {class: "num"}),
    cell("CPUs", count(job.cpus), {class: "num right"}),
    cell("GPUs", gpuWords(job) || h("span", {class: "quiet-text"}, "–"), {class: "num right"}),
    cell("Nodes", job.nodes === 1 && job.node_list ? h("span", {class: "clip short", title: job.node_list}, job.node_list) : count(job.nodes), {class: "num right"}))
}

/** What can be done to all the selected jobs. Those that have left the queue meanwhile are told one by one. */
function together(app, own, answer) {
  const jobs = [...own.picked.values()]
  if (!jobs.length) return null
  const done = () => { own.picked = new Map(); ask(app, true) }
  const button = (title, onclick, danger) => h("button", {type: "button", class: danger ? "button danger" : "button", key: title, onclick}, title)
  return h("div", {class: "history-tools", key: "together", role: "group", "aria-label": "Selected jobs"}, h("span", {class: "num", key: "number"}, `${many(jobs.length, "row")} selected`),
    button("Cancel them", () => bulk(app, "cancel", jobs, done), true), button("Hold", () => bulk(app, "hold", jobs, done)), button("Release", () => bulk(app, "release", jobs, done)),
    button("Tag", () => bulkTag(app, jobs.map((job) => ({...job, cluster: answer.cluster})), done)),
    h("button", {type: "button", class: "button quiet", key: "none", onclick: () => { own.picked = new Map(); app.render() }}, "Select none"))
}

function pickAll(app, own, answer) {
  const every = answer.rows.every((job) => own.picked.has(job.label))
  return h("input", {type: "checkbox", "aria-label": "Select all jobs of this page", checked: every, onchange: () => {
    for (const job of answer.rows) if (every) own.picked.delete(job.label); else own.picked.set(job.label, job)
    app.render()
  }})
}

/** The job's name; that of a session of one's own by what the session is called, with the way to its card. */
function name(app, job) {
  const clip = h("span", {class: "clip", title: job.name}, job.name)
  const session = sessionOf(app, job)
  return session ? [go(app, `/sessions?session=${session.id}`, {class: "session-link", "aria-label": `${session.name}: to its card`}, icon("sessions"), h("span", {class: "clip"}, session.name)), h("span", {class: "quiet-text under"}, clip)] : clip
}

function sessionOf(app, job) {
  if (!job.name.startsWith("carme-")) return null
  const session = app.topic("mine")?.sessions[job.name.slice("carme-".length)]
  return session && session.job_id === job.job_id ? session : null
}

function moment(job) {
  if (job.state === "PENDING") return job.start_s && job.start_expected ? ["starts ", ahead(job.start_s)] : [h("span", {class: "quiet-text"}, `waits ${span(now() - job.submit_s)}`)]
  if (job.state === "RUNNING") return job.end_s ? `${span(job.end_s - now())} left` : `runs ${span(now() - job.start_s)}`
  return job.end_s ? `ended ${when(job.end_s)}` : when(job.submit_s)
}

function pager(app, answer) {
  const pages = Math.ceil(answer.total / answer.page)
  if (pages < 2) return null
  const at = Math.floor(answer.offset / answer.page) + 1
  const to = (page) => { app.query({page: page === 1 ? null : page}); app.root.querySelector("#content").scrollTo(0, 0) }
  return h("div", {class: "pager", role: "navigation", "aria-label": "Pages of the queue", key: "pager"},
    h("button", {type: "button", class: "button", disabled: at <= 1, onclick: () => to(at - 1)}, "Previous"),
    h("span", {class: "num"}, `${count(answer.offset + 1)}–${count(Math.min(answer.total, answer.offset + answer.page))} of ${count(answer.total)}`),
    h("button", {type: "button", class: "button", disabled: at >= pages, onclick: () => to(at + 1)}, "Next"))
}

// -- one job -----------------------------------------------------------------------------------------------

function jobDrawer(app, own, id) {
  const {job, jobError} = own
  const close = () => app.query({job: null})
  const look = job ? JOB_STATES[job.state] || ["over", "–", job.state] : null
  return drawer(app, {
    key: "job-drawer", title: job ? `Job ${job.label}` : `Job ${id}`, onclose: close,
    sub: job ? [badge(look), " ", h("span", {class: "job-name"}, job.name)] : null,
    body: jobError ? empty("Nothing to show", jobError) : !job ? skeleton(10) : [
      job.why ? h("div", {class: "notice wait", key: "why"}, icon("info"), h("div", {}, h("strong", {}, job.why), job.reason ? h("p", {class: "mono"}, job.reason) : null,
        job.start_s && job.start_expected ? h("p", {}, `Expected to start ${ahead(job.start_s)} (${when(job.start_s)}), as the scheduler sees it now.`) : null)) : null,
      h("div", {key: "ask"}, h("h3", {}, "Resources"), facts([
        ["CPUs", count(job.cpus)], ["Memory", job.memory_mb ? memory(job.memory_mb) : null],
        ["GPUs", gpuWords(job) || null], ["Nodes", `${count(job.nodes)}${job.node_list ? `: ${job.node_list}` : ""}`],
        ["TRES", job.tres && h("span", {class: "mono"}, job.tres)],
      ])),
      h("div", {key: "time"}, h("h3", {}, "Time"), facts([
        ["Submitted", full(job.submit_s)],
        ["Eligible", job.eligible_s && job.eligible_s !== job.submit_s ? full(job.eligible_s) : null],
        [job.start_expected ? "Expected start" : "Started", job.start_s ? full(job.start_s) : null],
        [job.state === "RUNNING" ? "Limit reached" : "Ended", job.end_s ? full(job.end_s) : null],
        ["Time limit", job.time_limit_s === null ? "none" : span(job.time_limit_s)],
        ["Exit code", job.exit_code], ["Restarts", job.restarts || null],
      ])),
      h("div", {key: "where"}, h("h3", {}, "Belongs to"), facts([
        ["User", job.user], ["Account", job.account], ["Partition", job.partition], ["QOS", job.qos],
        ["Reservation", job.reservation], ["Priority", job.state === "PENDING" ? count(job.priority) : null],
        ["Dependency", job.dependency], ["Features", job.features],
        ["Working folder", job.work_dir && h("span", {class: "mono"}, job.work_dir)], ["Command", job.command && h("span", {class: "mono"}, job.command)],
        ["Comment", job.comment],
      ])),
    ],
    foot: job ? [
      go(app, `/job?id=${job.job_id}`, {class: "button primary"}, icon("chart"), "Open its page"),
      job.session ? go(app, `/sessions?session=${job.session}`, {class: "button"}, icon("sessions"), "Its session") : null,
      job.may_cancel ? h("button", {type: "button", class: "button danger solid", onclick: () => confirmCancel(app, job)}, icon("stop"), "Cancel job") : null,
    ] : null,
  })
}

function confirmCancel(app, job) {
  let busy = false
  const cancel = async () => {
    busy = true
    app.render()
    try {
      await app.call("jobs.cancel", {job_id: job.job_id})
      app.toast(`Job ${job.label} is being cancelled.`, "good")
    } catch (error) {
      app.toast(error.message, "bad")
    }
    app.closeDialog()
  }
  app.ask(() => ({
    key: "cancel", title: `Cancel job ${job.label}?`, onclose: () => app.closeDialog(),
    body: [h("p", {}, job.name), h("p", {}, job.whole_array ? "This row stands for several tasks: the whole array is cancelled, its running tasks too." : job.state === "RUNNING" ? "It is ended at once; what it has not written is lost." : "It loses its place in the queue."),
      job.own ? null : h("p", {}, h("strong", {}, `It is ${job.user}’s job.`))],
    actions: [h("button", {type: "button", class: "button", "data-first": "", onclick: () => app.closeDialog()}, "Keep it"),
      h("button", {type: "button", class: "button danger solid", disabled: busy, onclick: cancel}, busy ? "Cancelling …" : "Cancel job")],
  }))
}
