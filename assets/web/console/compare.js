// Compare: two to eight jobs, their facts side by side with what differs marked, their curves from their starts on.
// ?jobs=1,2,3; NUMBER@SUBMIT@CLUSTER where a number is not enough.
import {h} from "./dom.js"
import {count, gpuWords, memory, now, span, when} from "./format.js"
import {icon} from "./icons.js"
import {badge, empty, go, skeleton} from "./ui.js"
import {Board} from "./job/board.js"
import {chartGroups} from "./job/charts.js"
import {amount, together, unpack} from "./job/curve.js"
import {exitWords} from "./job/facts.js"
import {STATES, jobHref} from "./job/names.js"
import {copy} from "./job/verdicts.js"

export const title = "Compare"
export const topics = () => ["mine"]

const MOST = 8
const POINTS = 240

const state = (app) => (app.state.compare ??= {jobs: new Map(), open: {}, tables: new Set(), stages: new Map(), curves: null, zoom: null, only: false})

/** The jobs of the address, each {text, id, submit, cluster}; what is no number is left out. */
function named(query) {
  const seen = new Set()
  return (query.get("jobs") || "").split(",").map((text) => text.trim()).filter((text) => /^\d{1,15}(@\d{0,12}(@[\w.-]{1,60})?)?$/.test(text) && !seen.has(text) && seen.add(text)).slice(0, MOST).map((text) => {
    const [id, submit, cluster] = text.split("@")
    return {text, id: Number(id), submit: Number(submit || 0), cluster: cluster || ""}
  })
}

const set = (app, texts) => app.query({jobs: texts.join(",")})

export function enter(app) {
  const own = state(app)
  own.stages = new Map()
  own.curves = null
  own.zoom = null
  moved(app)
}

export function moved(app) {
  const own = state(app)
  for (const each of named(app.route.query)) if (!own.jobs.has(each.text)) load(app, own, each)
  gather(app, own)
}

function load(app, own, each) {
  const entry = {...each, job: null, error: "", charts: new Map(), run: null, absent: "", footprint: null}
  own.jobs.set(each.text, entry)
  const which = {id: each.id, cluster: each.cluster, submit: each.submit}
  const failed = (error) => { entry.error = error.message; app.render() }
  app.call("job.show", which).then((job) => {
    entry.job = job
    app.render()
    measure(app, own, entry, job.groups.filter((group) => !group.shut || own.open[group.name]).map((group) => group.name))
    app.call("job.verdict", which).then((found) => { entry.footprint = found.footprint; app.render() }, failed)
  }, failed)
}

function measure(app, own, entry, groups) {
  const {id, cluster, submit} = entry
  app.call("job.curves", {id, cluster, submit, groups, points: POINTS}).then((answer) => {
    const found = JSON.parse(answer.json)
    entry.run = found.run
    entry.absent = found.absent
    for (const group of found.groups) entry.charts.set(group.name, group.charts)
    gather(app, own)
    app.render()
  }, (error) => { entry.absent = error.message; app.render() })
}

/** One line a job: the mean of its devices, with the least and greatest of them, from its start on. */
function gather(app, own) {
  const list = entries(app, own)
  const shown = list.filter((entry) => entry.run)
  const board = own.curves?.board ?? new Board(app, (zoom) => { own.zoom = zoom; settle(own); app.render() })
  board.relative = 0
  const groups = new Map()
  for (const entry of shown) {
    const place = list.indexOf(entry) // its colour, also in charts that others are not in
    for (const [name, charts] of entry.charts) {
      if (!groups.has(name)) groups.set(name, [])
      for (const chart of charts) {
        let all = groups.get(name).find((each) => each.metric === chart.metric)
        if (!all) groups.get(name).push((all = {...chart, lines: [], limits: [], version: shown.length}))
        const line = together(chart.lines.map(unpack))
        all.lines.push({...line, place, key: entry.text, name: `${entry.job.label} ${entry.job.name}`.slice(0, 40), t0: line.t0 - entry.run[0]})
      }
    }
  }
  own.curves = {board, groups, absent: "", error: "", state: null, devices: [], picked: {}}
  own.length = Math.max(60, ...shown.map(({run}) => (run[1] ?? now()) - run[0]))
  settle(own)
}

function settle(own) {
  const {board} = own.curves
  board.refresh()
  board.whole = {from: 0, to: own.length}
  board.window = own.zoom || board.whole
  board.zoomed = !!own.zoom
  board.version += 1
}

const entries = (app, own) => named(app.route.query).map(({text}) => own.jobs.get(text)).filter(Boolean)

export function view(app) {
  const own = state(app)
  const list = entries(app, own)
  if (own.curves && own.curves.board.look.dark !== app.theme.dark) settle(own)
  return {
    body: [
      h("div", {class: "head", key: "head"}, h("h1", {}, "Compare jobs"),
        list.length ? h("div", {class: "head-tools"}, h("button", {type: "button", class: "button quiet", onclick: () => copy(app, location.href, "The link to this comparison is copied.")}, icon("link"), "Copy link")) : null),
      adding(app, list),
      list.length ? content(app, own, list) : empty("No jobs chosen yet", "Add the numbers of two to eight jobs that you may see; or come from a job’s page."),
    ],
  }
}

function adding(app, list) {
  if (list.length >= MOST) return h("p", {class: "hint", key: "full"}, `These are ${MOST} jobs, as many as fit side by side.`)
  return h("form", {class: "inline", key: "adding", onsubmit: (event) => {
    event.preventDefault()
    const input = event.target.querySelector("input")
    const texts = input.value.split(/[\s,]+/).filter(Boolean)
    if (!texts.length || texts.some((text) => !/^\d{1,15}$/.test(text))) {
      app.toast("Numbers of jobs are wanted: digits alone.", "bad")
      return
    }
    input.value = ""
    set(app, [...new Set([...list.map(({text}) => text), ...texts])].slice(0, MOST))
  }},
    h("label", {for: "compare-number"}, "Add job"),
    h("input", {id: "compare-number", type: "text", inputmode: "numeric", class: "short-input", placeholder: "Number"}),
    h("button", {type: "submit", class: "button"}, "Add"))
}

function content(app, own, list) {
  const known = list.filter(({job}) => job)
  const measured = known.filter(({run, charts}) => run && [...charts.values()].some((each) => each.length))
  const groups = known[0]?.job.groups || []
  return [
    h("section", {class: "block table-block", key: "facts", "aria-label": "Facts"}, facts(app, own, list)),
    known.length && !measured.length ? skeletonOr(list) : null,
    measured.length ? h("div", {class: "curve-groups", key: "charts"},
      h("div", {class: "curves-head", key: "head"}, h("h2", {}, "What they did"), h("span", {class: "hint"}, "Each from its start on: the mean of its devices, the band from least to greatest.")),
      known.filter((entry) => entry.absent).map((entry) => h("p", {class: "hint", key: `absent-${entry.text}`}, `Job ${entry.job.label}: ${entry.absent}`)),
      chartGroups(app, {
        curves: own.curves, groups, open: own.open, tables: own.tables, stages: own.stages, gpus: 0, title: `jobs ${known.map(({job}) => job.label).join(", ")}`,
        onopen: (name, open) => {
          own.open[name] = open
          if (open) for (const entry of known) if (!entry.charts.has(name)) measure(app, own, entry, [name])
          app.render()
        },
        resetZoom: () => { own.zoom = null; settle(own); app.render() },
      })) : null,
  ]
}

function skeletonOr(list) {
  if (list.some((entry) => entry.job && !entry.absent && !entry.run)) return skeleton(6)
  return h("section", {class: "block", key: "absent", "aria-label": "Measured"}, empty("Nothing was measured", list.map((entry) => (entry.job && entry.absent ? `Job ${entry.job.label}: ${entry.absent}` : "")).filter(Boolean).join(" ")))
}

const MB = 2 ** 20
const ran = (job) => (job.start_s && job.state !== "PENDING" ? (job.over ? job.end_s : now()) - job.start_s : null)

/** [name, value as text of a job and its footprint]; null where there is none. */
const ROWS = [
  ["Name", (job) => job.name], ["User", (job) => job.user], ["Account", (job) => job.account], ["Partition", (job) => job.partition], ["QOS", (job) => job.qos],
  ["Cluster", (job) => job.cluster],
  ["Submitted", (job) => when(job.submit_s)], ["Waited", (job) => (ran(job) === null ? null : span(job.start_s - job.submit_s))],
  ["Ran", (job) => (ran(job) === null ? null : span(ran(job)))], ["Time limit", (job) => (job.time_limit_s === null ? "none" : span(job.time_limit_s))],
  ["Nodes", (job) => count(job.nodes)], ["CPUs", (job) => count(job.cpus)], ["Memory", (job) => (job.memory_mb ? memory(job.memory_mb) : null)],
  ["GPUs", (job) => gpuWords(job) || "0"],
  ["CPU used", (job, print) => (job.used.cpu_s !== null && ran(job) > 0 && job.cpus ? `${Math.round((100 * job.used.cpu_s) / ran(job) / job.cpus)} %` : print?.cpu_cores_mean != null && print.cpus ? `${Math.round((100 * print.cpu_cores_mean) / print.cpus)} %` : null)],
  ["Peak memory", (job, print) => (job.used.mem_peak_mb !== null ? amount(job.used.mem_peak_mb * MB, "bytes") : print?.memory_peak_bytes != null ? amount(print.memory_peak_bytes, "bytes") : null)],
  ["GPU busy", (job, print) => (print?.gpu_percent_mean != null ? amount(print.gpu_percent_mean, "percent") : null)],
  ["Peak GPU memory", (job, print) => (print?.gpu_memory_peak_bytes != null ? amount(print.gpu_memory_peak_bytes, "bytes") : null)],
  ["Energy", (job) => (job.used.energy_j ? `${(job.used.energy_j / 3.6e6).toFixed(2)} kWh` : null)],
  ["Exit", exitWords], ["Restarts", (job) => count(job.restarts || 0)],
  ["Node list", (job) => job.node_list || null], ["Working folder", (job) => job.work_dir], ["Command", (job) => job.command],
]

function facts(app, own, list) {
  const known = list.filter(({job}) => job)
  const rows = ROWS.map(([name, value]) => {
    const texts = list.map(({job, footprint}) => (job ? value(job, footprint) ?? null : null))
    const differs = new Set(known.map((entry) => texts[list.indexOf(entry)])).size > 1
    return {name, texts, differs}
  }).filter(({texts}) => texts.some((text) => text !== null && text !== ""))
  const shown = own.only ? rows.filter(({differs}) => differs) : rows
  const remove = (entry) => set(app, list.filter((each) => each !== entry).map(({text}) => text))
  return [
    h("div", {class: "compare-tools", key: "tools"}, h("button", {type: "button", class: "pill", "aria-pressed": String(own.only), onclick: () => { own.only = !own.only; app.render() }}, "Only what differs")),
    h("div", {class: "table-wrap", tabindex: "0", role: "region", "aria-label": "Facts side by side", key: "table"},
      h("table", {class: "table compare"},
        h("thead", {}, h("tr", {}, h("th", {scope: "col"}, h("span", {class: "unseen"}, "Fact")), list.map((entry) => h("th", {scope: "col", key: entry.text},
          h("span", {class: "compare-job"}, entry.job ? go(app, jobHref(entry.job), {class: "num"}, `Job ${entry.job.label}`) : h("span", {class: "num"}, `Job ${entry.id}`),
            h("button", {type: "button", class: "button quiet square small", "aria-label": `Leave out job ${entry.id}`, onclick: () => remove(entry)}, icon("close"))))))),
        h("tbody", {},
          h("tr", {key: "state"}, h("th", {scope: "row"}, "State"), list.map((entry) => h("td", {key: entry.text}, entry.job ? badge(STATES[entry.job.state] || ["over", "–", entry.job.state]) : entry.error ? h("span", {class: "problem"}, entry.error) : "…"))),
          shown.map(({name, texts, differs}) => h("tr", {key: name, class: differs ? "differs" : undefined},
            h("th", {scope: "row"}, name, differs ? h("span", {class: "unseen"}, " (differs)") : null),
            list.map((entry, at) => h("td", {key: entry.text, class: "num"}, texts[at] === null || texts[at] === "" ? h("span", {class: "quiet-text"}, "–") : texts[at])))))))
  ]
}
