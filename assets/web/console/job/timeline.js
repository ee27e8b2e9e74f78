// When what happened: a bar from submission to the end, and each attempt of a job that was put back.
import {h} from "../dom.js"
import {count, full, gpuWords, many, now, span, ticking, when} from "../format.js"
import {badge} from "../ui.js"
import {STATES} from "./names.js"

export function timeline(app, own) {
  const {job} = own
  return [moments(job), bar(job), job.attempts.length > 1 || job.runs.length > 1 ? attempts(app, own) : null]
}

/** Submitted, eligible, started, ended, each with its time. */
function moments(job) {
  const waits = job.state === "PENDING"
  const list = [["Submitted", when(job.submit_s), full(job.submit_s)]]
  if (job.eligible_s && job.eligible_s > job.submit_s + 1) list.push(["Eligible", when(job.eligible_s), full(job.eligible_s)])
  if (job.start_s) list.push([waits ? "Expected start" : "Started", when(job.start_s), full(job.start_s)])
  else list.push([waits ? "Waits" : "Never started", waits ? span(now() - job.submit_s) : "–", ""])
  if (job.over) list.push(["Ended", when(job.end_s), full(job.end_s)])
  else if (job.running && job.end_s) list.push(["Time left", h("span", {class: "num", "data-until": String(job.end_s)}, ticking(job.end_s - now())), `Its limit is reached ${full(job.end_s)}`])
  if (job.start_s && !waits) list.push([job.over ? "Ran" : "Runs for", span((job.over ? job.end_s : now()) - job.start_s), ""])
  list.push(["Time limit", job.time_limit_s === null ? "none" : span(job.time_limit_s), ""])
  return h("dl", {class: "moments", key: "moments"}, list.map(([name, value, title]) => h("div", {key: name, title: title || undefined}, h("dt", {}, name), h("dd", {class: "num"}, value))))
}

/** Waited and ran, to scale; the rest of the limit of a job that runs. */
function bar(job) {
  const waits = job.state === "PENDING"
  const begun = job.start_s && !waits ? job.start_s : null
  const end = job.over ? job.end_s ?? job.start_s : now()
  const wait = (begun ?? end) - job.submit_s
  const ran = begun ? end - begun : 0
  const left = job.running && job.end_s ? Math.max(0, job.end_s - now()) : 0
  const all = wait + ran + left
  if (!(all > 0)) return null
  const part = (name, seconds, words) => (seconds > 0 ? h("i", {class: name, key: name, title: words, style: {width: `${Math.max(0.5, (100 * seconds) / all)}%`}}) : null)
  const words = [`waited ${span(wait)}`, ran ? `${job.over ? "ran" : "has run"} ${span(ran)}` : "", left ? `${span(left)} left` : ""].filter(Boolean)
  return h("div", {class: "time-bar", role: "img", "aria-label": words.join(", "), key: "bar"},
    part("waited", wait, words[0]), part("ran", ran, `ran ${span(ran)}`), part("left", left, `${span(left)} left`))
}

function attempts(app, own) {
  const {job} = own
  const rows = job.attempts.length ? job.attempts : []
  const shown = own.run || job.runs[0]?.[0]
  return h("div", {class: "table-wrap attempts", key: "attempts", tabindex: "0", role: "region", "aria-label": "Attempts"},
    h("table", {class: "table"},
      h("thead", {}, h("tr", {}, ["Attempt", "Started", "Ran", "End", "Given", "Nodes"].map((name) => h("th", {scope: "col", key: name}, name)))),
      h("tbody", {}, rows.map((row) => {
        const look = STATES[row.state] || ["over", "–", row.state || "unknown"]
        const ended = row.end_s !== null
        const isShown = row.start_s !== null && row.start_s === shown
        return h("tr", {key: `${row.submit_s}-${row.start_s}`},
          h("th", {scope: "row", class: "num"}, count(row.attempt), " ",
            row.start_s !== null && job.runs.length > 1 ? h("button", {type: "button", class: "as-link small-link", "aria-pressed": String(isShown), disabled: isShown, onclick: () => app.query({run: row.start_s, from: null, to: null})}, isShown ? "shown below" : "show its curves") : null),
          h("td", {class: "num", title: full(row.start_s)}, row.start_s === null ? "never" : when(row.start_s)),
          h("td", {class: "num"}, row.start_s === null ? "–" : span((ended ? row.end_s : now()) - row.start_s)),
          h("td", {}, badge(look), row.words ? h("span", {class: "why"}, row.words) : null),
          h("td", {class: "num"}, row.cpus ? [many(row.cpus, "CPU"), row.gpus ? `, ${gpuWords(row)}` : ""] : "–"),
          h("td", {}, h("span", {class: "clip", title: row.node_list || undefined}, row.node_list || "–")))
      }))))
}
