// Waste: jobs whose GPUs do nothing now, and GPU-hours that stood idle, by whom; each figure opens into its jobs.
import {h} from "./dom.js"
import {ahead, count, full, gpuWords, many, memory, models, now, onDisk, span, when} from "./format.js"
import {tellForm} from "./forms/waste.js"
import {badge, drawer, empty, notice, select, skeleton} from "./ui.js"

export const title = "Waste"
export const topics = () => ["mine"]

const LOOK_MS = 30000
const MINUTES = [15, 30, 60, 240]
const FIRST_MINUTES = 30
const AGAIN_S = 86400 // the server takes no second notice about a job before
const FIRST_WINDOW = "week"
const BY = {user: "People", account: "Accounts", project: "Projects", partition: "Partitions", gpu_type: "Models"}
const NOBODY = {gpu_type: "no type", project: "no project"}
const MAIL = {
  none: ["over", "–", "Console only"], sending: ["wait", "◌", "Mail under way"], sent: ["good", "✓", "Mailed"],
  unsure: ["wait", "?", "Mail perhaps sent"], failed: ["bad", "✕", "Mail failed"],
}

const state = (app) => (app.state.waste ??= {answer: null, error: "", asked: "", idle: null, idleError: "", idleAsked: 0, jobs: null, jobsError: "", jobsAsked: "", timer: 0})

const question = (query) => ({
  window: query.get("window") || FIRST_WINDOW,
  by: query.get("by") in BY ? query.get("by") : "user",
  minutes: MINUTES.includes(Number(query.get("idle"))) ? Number(query.get("idle")) : FIRST_MINUTES,
  row: query.get("row"),
})

export function enter(app) {
  const own = state(app)
  own.asked = ""
  own.jobsAsked = ""
  own.idleAsked = 0
  moved(app)
  clearInterval(own.timer)
  own.timer = setInterval(() => lookIdle(app), LOOK_MS)
}

export function leave(app) {
  clearInterval(state(app).timer)
}

export function moved(app) {
  const own = state(app)
  const wanted = question(app.route.query)
  if (own.asked !== wanted.window) {
    own.asked = wanted.window
    if (own.answer?.window !== wanted.window) own.answer = null
    app.call("waste.look", {window: wanted.window}).then((answer) => {
      if (own.asked !== wanted.window) return
      own.answer = answer
      own.error = ""
      app.render()
    }, (error) => {
      if (own.asked !== wanted.window) return
      own.error = error.message
      app.render()
    })
  }
  if (own.idleAsked !== wanted.minutes) lookIdle(app)
  lookJobs(app, wanted)
}

export function lookIdle(app) {
  const own = state(app)
  const {minutes} = question(app.route.query)
  own.idleAsked = minutes
  app.call("waste.idle", {minutes}).then((answer) => {
    if (own.idleAsked !== minutes) return
    own.idle = answer
    own.idleError = ""
    app.render()
  }, (error) => {
    if (own.idleAsked !== minutes) return
    own.idleError = error.message
    app.render()
  })
}

function lookJobs(app, {window, by, row}) {
  const own = state(app)
  const key = row === null ? "" : JSON.stringify([window, by, row])
  if (own.jobsAsked === key) return
  own.jobsAsked = key
  own.jobs = null
  own.jobsError = ""
  if (!key) return
  app.call("waste.jobs", {window, by, name: row}).then((answer) => {
    if (own.jobsAsked !== key) return
    own.jobs = answer
    app.render()
  }, (error) => {
    if (own.jobsAsked !== key) return
    own.jobsError = error.message
    app.render()
  })
}

export function view(app) {
  const own = state(app)
  const wanted = question(app.route.query)
  const {answer} = own
  return {
    body: [
      h("div", {class: "head", key: "head"}, h("h1", {}, "Waste"), h("p", {class: "sub"}, answer ? whose(answer) : " ")),
      idleNow(app, own, wanted),
      own.error ? h("section", {class: "block", key: "hours"}, empty("The figures can’t be shown", own.error))
        : answer ? hours(app, answer, wanted) : h("section", {class: "block", key: "hours"}, skeleton(8)),
      sent(app, own.idle),
      answer ? foot(answer) : null,
    ],
    over: wanted.row === null ? null : jobsDrawer(app, own, wanted),
  }
}

const whose = (answer) => (answer.everybody ? "GPUs that stand idle, of everybody" : `GPUs that stand idle, of ${answer.accounts.join(", ") || "your own jobs"}${answer.accounts.length ? " and what is below" : ""}`)

// -- now -----------------------------------------------------------------------------------------------------

function idleNow(app, own, wanted) {
  const {idle} = own
  const pick = h("div", {class: "segmented", role: "group", "aria-label": "Idle for at least"}, MINUTES.map((minutes) =>
    h("button", {type: "button", key: `${minutes}`, "aria-pressed": String(minutes === wanted.minutes), onclick: () => app.query({idle: minutes === FIRST_MINUTES ? null : minutes}, {replace: true})}, span(minutes * 60))))
  return h("section", {class: "block table-block", "aria-labelledby": "waste-now", key: "now"},
    h("div", {class: "waste-choice"}, h("h2", {id: "waste-now"}, "Idle now"), h("span", {class: "quiet-text"}, "all GPUs of the job, for at least"), pick),
    own.idleError ? empty("It can’t be shown", own.idleError)
      : !idle ? skeleton(4)
        : idle.away ? notice("wait", "Which GPUs are idle is not known now: ", idle.away)
          : idle.jobs.length ? h("div", {class: "table-wrap", tabindex: "0", role: "region", "aria-label": "Table of idle jobs"},
              h("table", {class: "table stack"},
                h("thead", {}, h("tr", {}, ["Job", "Person", "Holds", "Idle", "Ends at its limit", "Notice"].map((label) => h("th", {scope: "col", key: label}, label)))),
                h("tbody", {}, idle.jobs.map((job) => idleRow(app, job)))))
            : empty("No GPU stands idle", `Every measured job has used a GPU within the last ${span(idle.minutes * 60)}.`))
}

function idleRow(app, job) {
  return h("tr", {key: `${job.job_id}`},
    h("th", {scope: "row"}, jobLink(app, job.job_id, job.label), " ", job.is_session ? badge(["busy", "◐", "Session"]) : h("span", {class: "clip quiet-text", title: job.name}, job.name)),
    h("td", {"data-label": "Person"}, h("span", {class: "clip", title: job.user}, job.user), h("span", {class: "quiet-text waste-under"}, job.account)),
    h("td", {"data-label": "Holds"}, `${gpuWords({...job, gpu_type: job.gpu_model || job.gpu_type})} · ${many(job.cpus, "CPU")}${job.memory_mb ? ` · ${memory(job.memory_mb)}` : ""}`, h("span", {class: "quiet-text waste-under"}, job.node_list)),
    h("td", {"data-label": "Idle"}, h("strong", {}, span(now() - job.idle_since_s)), h("span", {class: "quiet-text waste-under"}, job.never ? "never busy" : `since ${when(job.idle_since_s)}`)),
    h("td", {"data-label": "Ends at its limit"}, job.limit_end_s ? ahead(job.limit_end_s) : "no limit"),
    h("td", {"data-label": "Notice"},
      job.told ? h("span", {class: "quiet-text waste-under"}, `sent by ${job.told.by}, ${when(job.told.sent_s)}`) : null,
      job.may_tell && !(job.told && now() - job.told.sent_s < AGAIN_S) ? h("button", {type: "button", class: "button", "aria-label": `Send a notice about job ${job.label}`, onclick: () => tellForm(app, job, () => lookIdle(app))}, "Send a notice") : null))
}

const jobLink = (app, id, label = String(id)) =>
  h("a", {href: `/job?id=${id}`, class: "num", onclick: (event) => { event.preventDefault(); app.go(`/job?id=${id}`) }}, label)

// -- hours ---------------------------------------------------------------------------------------------------

const grouped = new Intl.NumberFormat("en-GB", {minimumFractionDigits: 1, maximumFractionDigits: 1})
const finely = new Intl.NumberFormat("en-GB", {minimumFractionDigits: 2, maximumFractionDigits: 2})
const hrs = (value) => (value > 0 && value < 0.95 ? finely : grouped).format(value)
const measuredOf = ({measured, allocated}) => Math.min(measured, allocated) // of what runs, samples are seconds ahead of the queue
const share = (part, whole) => (whole > 0 ? `${Math.min(100, Math.round((100 * part) / whole))} %` : "–")

function hours(app, answer, wanted) {
  const {total} = answer
  const table = answer.tables.find((each) => each.by === wanted.by) || answer.tables[0]
  return h("section", {class: "block table-block", "aria-labelledby": "waste-hours", key: "hours"},
    h("div", {class: "waste-choice"}, h("h2", {id: "waste-hours"}, "GPU-hours"),
      h("label", {}, h("span", {class: "unseen"}, "Window"), select({id: "waste-window", value: answer.window, options: answer.windows.map(([value, label]) => ({value, label})), onchange: (value) => app.query({window: value === FIRST_WINDOW ? null : value, row: null})})),
      h("div", {class: "segmented", role: "group", "aria-label": "By"}, answer.tables.map(({by: name}) =>
        h("button", {type: "button", key: name, "aria-pressed": String(name === table.by), onclick: () => app.query({by: name === "user" ? null : name, row: null}, {replace: true})}, BY[name])))),
    answer.away ? notice("wait", "What jobs did with their GPUs can’t be read now: ", answer.away) : null,
    total.jobs ? [
      h("div", {class: "stats waste-stats", key: "stats"},
        figure(hrs(total.allocated), "allocated"),
        answer.away ? null : [figure(hrs(measuredOf(total)), `measured: ${share(total.measured, total.allocated)} of them`), figure(hrs(total.idle), `idle: ${share(total.idle, total.measured)} of the measured`)],
        figure(count(total.jobs), answer.away ? "jobs" : `jobs, ${count(total.measured_jobs)} measured`)),
      h("div", {class: "table-wrap", tabindex: "0", role: "region", "aria-label": "Table of GPU-hours", key: "table"},
        h("table", {class: "table stack waste"},
          h("thead", {}, h("tr", {}, [[table.title], ["Allocated", "right"], ["Measured", "right"], ["Idle", "right"], ["Of the measured", "right"], [""], ["Jobs", "right"]].map(([label, side], at) => h("th", {scope: "col", key: `${at}`, class: side}, label || h("span", {class: "unseen"}, "Share"))))),
          h("tbody", {}, table.rows.map((row) => hoursRow(app, table, row, !!answer.away, Math.max(...table.rows.map((each) => each.allocated))))))),
      h("p", {class: "quiet-text waste-legend", key: "legend"}, [["idle", "idle"], ["busy", "busy"], ["unknown", "not measured"]].map(([kind, label]) => h("span", {key: kind}, h("i", {class: kind, "aria-hidden": "true"}), label))),
      table.more ? h("p", {class: "quiet-text waste-foot", key: "more"}, `${count(table.more)} more with fewer idle hours are not listed.`) : null,
      h("p", {class: "quiet-text waste-foot", key: "how"}, `Whole jobs with GPUs that ended between ${full(answer.since_s)} and ${full(answer.until_s)}${answer.until_s >= now() - 60 ? ", and those that run, so far" : ""}. Idle: a GPU below ${answer.idle_percent} %. What was not measured is not counted as idle.${table.by === "project" ? " Accounts are in the projects that the site’s list puts them in today." : ""}`),
    ] : empty("No job had a GPU in that time", "Choose a longer window."))
}

const figure = (value, label) => h("div", {class: "stat", key: label}, h("span", {class: "stat-value num"}, value), h("span", {class: "stat-label"}, label))

const called = (by, name) => (!name ? NOBODY[by] || "none" : by === "gpu_type" ? models(name) : name)

function hoursRow(app, table, row, away, most) {
  const name = called(table.by, row.name)
  const open = () => { // also the row of those that have none, whose name is empty
    const query = new URLSearchParams(app.route.query)
    query.set("row", row.name)
    app.go(`/waste?${query}`)
  }
  const cell = (label, content) => h("td", {"data-label": label, class: "num right", key: label}, content)
  const part = (kind, value) => (value > 0 ? h("i", {class: kind, style: {width: `${(100 * value) / most}%`}}) : null)
  const busy = Math.max(0, row.measured - row.idle)
  return h("tr", {key: `${table.by}|${row.name}`},
    h("th", {scope: "row"}, h("button", {type: "button", class: "as-link clip", title: name, onclick: open}, name)),
    cell("Allocated", hrs(row.allocated)), cell("Measured", away || !row.measured_jobs ? "–" : [hrs(measuredOf(row)), h("span", {class: "quiet-text"}, ` ${share(row.measured, row.allocated)}`)]),
    cell("Idle", row.measured_jobs ? hrs(row.idle) : "–"), cell("Of the measured", share(row.idle, row.measured)),
    h("td", {class: "waste-bar-cell"}, h("div", {class: "waste-bar", role: "img", "aria-label": `${hrs(row.idle)} idle, ${hrs(busy)} busy, ${hrs(Math.max(0, row.allocated - row.measured))} not measured`},
      part("idle", row.idle), part("busy", busy), part("unknown", row.allocated - row.measured))),
    cell("Jobs", count(row.jobs)))
}

function jobsDrawer(app, own, wanted) {
  const name = called(wanted.by, wanted.row)
  const found = own.jobs
  return drawer(app, {
    key: "waste-jobs", title: `Jobs of ${name}`, onclose: () => app.query({row: null}),
    sub: found ? (found.jobs.length >= 200 ? "The 200 most idle ones" : many(found.jobs.length, "job")) + ", the most idle first" : null,
    body: own.jobsError ? empty("They can’t be shown", own.jobsError) : !found ? skeleton(8)
      : found.jobs.length ? h("ul", {class: "waste-jobs"}, found.jobs.map((job) => h("li", {key: `${job.cluster}|${job.job_id}|${job.start_s}`},
          h("p", {}, jobLink(app, job.job_id), " ", h("span", {class: "clip", title: job.job_name}, job.job_name || ""), h("span", {class: "quiet-text"}, ` ${job.user || ""} · ${job.account || ""}`)),
          h("p", {class: "num"}, `${gpuWords(job)} · ${hrs(job.allocated)} h`, job.is_measured ? `, ${hrs(job.idle)} h idle (${share(job.idle, job.measured)})` : ", not measured"),
          h("p", {class: "quiet-text"}, `${when(job.start_s)} to ${job.end_s ? when(job.end_s) : "now"}`))))
        : empty("No jobs", "None of them is left in that window."),
  })
}

// -- notices, foot -------------------------------------------------------------------------------------------

function sent(app, idle) {
  if (!idle?.sent.length) return null
  return h("section", {class: "block table-block", "aria-labelledby": "waste-sent", key: "sent"},
    h("div", {class: "waste-choice"}, h("h2", {id: "waste-sent"}, "Notices sent")),
    h("div", {class: "table-wrap", tabindex: "0", role: "region", "aria-label": "Table of notices"}, h("table", {class: "table stack"},
      h("thead", {}, h("tr", {}, ["When", "By", "To", "Job", "How it went"].map((label) => h("th", {scope: "col", key: label}, label)))),
      h("tbody", {}, idle.sent.map((row) => h("tr", {key: row.id},
        h("th", {scope: "row", class: "num"}, when(row.sent_s)),
        h("td", {"data-label": "By"}, row.sent_by),
        h("td", {"data-label": "To"}, h("span", {class: "clip", title: row.person}, row.person), h("span", {class: "quiet-text waste-under"}, row.account)),
        h("td", {"data-label": "Job", class: "num"}, jobLink(app, row.job_id)),
        h("td", {"data-label": "How it went"}, badge(MAIL[row.mail] || MAIL.none), row.seen_s ? h("span", {class: "quiet-text"}, ` read ${when(row.seen_s)}`) : null, row.mail_why ? h("span", {class: "quiet-text waste-under"}, row.mail_why) : null)))))))
}


function foot({telemetry, clusters}) {
  const words = [
    telemetry.as_of_s ? `Newest measurement ${when(telemetry.as_of_s)}` : "Nothing has been measured yet",
    telemetry.oldest_s ? `oldest ${full(telemetry.oldest_s)}` : "",
    `${onDisk(telemetry.size_bytes)} on disk`,
    ...clusters.map((each) => `accounts of ${each.name} as of ${each.synced_s ? when(each.synced_s) : "never"}`),
  ].filter(Boolean).join(" · ")
  return h("footer", {class: "quiet-text waste-state", key: "foot"}, words,
    telemetry.error ? h("span", {class: "waste-error"}, ` · not measured${telemetry.error_since_s ? ` since ${when(telemetry.error_since_s)}` : ""}: ${telemetry.error}`) : null)
}
