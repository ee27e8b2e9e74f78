// Behind a mark: its jobs in the drawer, each with what it contributes, together the figure; or the smaller cells the
// mark is made of, each of which opens its own.
import {h} from "../dom.js"
import {count, full, gpuWords, many, span, when} from "../format.js"
import {icon} from "../icons.js"
import {STATES, jobHref} from "../job/names.js"
import {badge, drawer, empty, go, skeleton} from "../ui.js"
import {asked, to} from "./address.js"
import {downloads} from "./files.js"

export const open = (app, cell) => to(app, {cell})

/** Ask for what the address names; again when the accounts have changed. */
export function look(app, own, again = false) {
  const cell = app.route.query.get("cell") || ""
  const key = cell ? `${asked(app)}|${cell}` : ""
  if (own.drillKey === key && !again) return
  if (own.drillKey !== key) {
    own.drill = null
    own.drillError = ""
  }
  own.drillKey = key
  if (!key) return
  app.call("usage.jobs", {query: asked(app), cell, offset: 0}).then((answer) => {
    if (own.drillKey !== key) return
    own.drill = answer
    app.render()
  }, (error) => {
    if (own.drillKey !== key) return
    own.drillError = error.message
    app.render()
  })
}

function more(app, own) {
  const key = own.drillKey
  own.moreBusy = true
  app.render()
  app.call("usage.jobs", {query: asked(app), cell: app.route.query.get("cell"), offset: own.drill.rows.length}).then((answer) => {
    own.moreBusy = false
    if (own.drillKey === key && own.drill) own.drill = {...answer, rows: [...own.drill.rows, ...answer.rows]}
    app.render()
  }, (error) => {
    own.moreBusy = false
    app.toast(error.message, "bad")
  })
}

export function drillDrawer(app, own) {
  if (!app.route.query.get("cell")) return null
  const {drill, drillError} = own
  const close = () => { own.drillBack = []; to(app, {cell: null}) }
  return drawer(app, {
    key: "usage-drill", title: drill ? drill.heading : "Jobs", onclose: close,
    sub: drill ? [h("strong", {class: "num", title: drill.exact ?? undefined}, drill.total), ` ${drill.metric} · `, drill.kind === "jobs" ? many(drill.count, "attempt") : `${many(drill.count, "part")}`] : null,
    foot: drill?.kind === "jobs" && drill.rows.length ? downloads(app, "jobs", ["xlsx", "csv"]) : null,
    body: drillError ? empty("Nothing to show", drillError) : !drill ? skeleton(10) : drill.kind === "parts" ? parts(app, drill) : jobs(app, own, drill),
  })
}

function parts(app, drill) {
  if (!drill.rows.length) return empty("Nothing here", "No job has contributed to this mark.")
  return [
    h("table", {class: "table figures", key: "parts"},
      h("thead", {}, h("tr", {}, h("th", {scope: "col"}, drill.head), h("th", {scope: "col", class: "right"}, drill.metric))),
      h("tbody", {}, drill.rows.map(([name, text, cell]) => h("tr", {key: cell}, h("th", {scope: "row"}, h("button", {type: "button", class: "as-link", onclick: () => open(app, cell)}, name)), h("td", {class: "num right"}, text)))),
      sumRow(1, drill)),
    note(drill),
  ]
}

function jobs(app, own, drill) {
  if (!drill.rows.length) return [empty("No jobs", "No job has contributed to this figure."), note(drill)]
  return [
    h("ul", {class: "drill-list", key: "jobs", "aria-label": "Jobs"}, drill.rows.map((job, index) => line(app, job, index))),
    drill.additive ? h("div", {class: "drill-sum", key: "sum"}, h("span", {}, drill.rows.length < drill.count ? `Sum of all ${count(drill.count)}` : "Sum"), h("strong", {class: "num", title: drill.exact ?? undefined}, drill.total)) : null,
    drill.rows.length < drill.count ? h("button", {type: "button", class: "button", key: "more", disabled: own.moreBusy, onclick: () => more(app, own)}, own.moreBusy ? "Asking …" : `Show more (${count(drill.rows.length)} of ${count(drill.count)})`) : null,
    note(drill),
  ]
}

function line(app, job, index) {
  const look_ = STATES[job.state] || ["over", "–", job.state || "unknown"]
  const end = job.end_s ?? job.seen_s
  const label = job.array_job_id && job.array_task_id !== null ? `${job.array_job_id}_${job.array_task_id}` : `${job.job_id}`
  const ran = job.start_s !== null && end !== null ? `ran ${span(end - job.start_s)}${job.end_s === null ? " so far" : ""}` : "never started"
  return h("li", {key: `${job.cluster}-${job.job_id}-${job.submit_s}-${index}`},
    h("div", {class: "drill-head"}, go(app, jobHref({job_id: job.job_id, cluster: job.cluster, origin_s: job.submit_s}), {class: "num"}, h("strong", {}, label)), h("span", {class: "job-name"}, job.job_name || ""), h("span", {class: "grow"}), h("strong", {class: "num", title: job.exact ?? undefined}, job.contribution)),
    h("div", {class: "drill-facts quiet-text"}, badge(look_), h("span", {}, job.user), h("span", {}, job.account),
      h("span", {}, job.partition), h("span", {class: "num"}, [job.cpus ? many(job.cpus, "CPU") : "", gpuWords(job), job.nodes ? many(job.nodes, "node") : ""].filter(Boolean).join(", ")),
      h("span", {class: "num", title: job.start_s ? `${full(job.start_s)} – ${job.end_s ? full(job.end_s) : "now"}` : undefined}, job.start_s ? `${when(job.start_s)}, ${ran}` : `${when(job.submit_s)}, ${ran}`),
      job.attempt > 1 ? h("span", {}, `attempt ${job.attempt}`) : null))
}

const sumRow = (columns, drill) => h("tfoot", {}, h("tr", {}, h("th", {scope: "row", colspan: columns}, "Sum"), h("td", {class: "num right", title: drill.exact ?? undefined}, h("strong", {}, drill.total))))

const note = (drill) => h("p", {class: "hint method", key: "note"}, icon("info"), drill.method)
