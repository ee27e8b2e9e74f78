// Home: what is mine, what is free, what is in use, what is new.
import {h, html} from "./dom.js"
import {count, many, memory, model, now, percent, span} from "./format.js"
import {icon} from "./icons.js"
import {card, resources} from "./sessions/card.js"
import {empty, facts, go, meter, skeleton} from "./ui.js"

export const title = "Home"
export const topics = () => ["home", "mine", "quick", "sparks"]

const MOST_ENDED = 2
const RECENT_S = 86400 // an ended session stays on Home for a day
const QUICK_ROWS = 6
const narrow = matchMedia("(max-width: 1080px)") // as in console.css: one column, in the order of what is wanted first

export function enter(app) {
  narrow.onchange = () => app.render()
}

export function view(app) {
  const cluster = app.topic("home")
  const [own, offer, free, use, told] = [mine(app), quick(app, cluster), gpus(app, cluster), figures(app, cluster), news(cluster)]
  return {
    body: [
      h("div", {class: "head"}, h("h1", {}, "Home"), h("p", {class: "sub"}, greeting(app))),
      h("div", {class: "columns"},
        narrow.matches ? h("div", {class: "main-column", key: "only"}, own, offer, free, use, told) : [
          h("div", {class: "main-column", key: "main"}, own, use),
          h("div", {class: "side-column", key: "side"}, offer, free, told),
        ]),
    ],
  }
}

function greeting(app) {
  const mine_ = app.topic("mine")
  if (!mine_) return " "
  const {running, pending} = mine_.jobs
  const live = Object.values(mine_.sessions).filter((session) => session.live).length
  if (!live && !running && !pending) return "Nothing of yours is running."
  return `${many(live, "active session")}, ${many(running, "running job")}, ${count(pending)} pending.`
}

function mine(app) {
  const topic = app.topic("mine")
  let body
  if (!topic) {
    body = skeleton(4)
  } else {
    const all = Object.values(topic.sessions).sort((a, b) => b.live - a.live || b.created_s - a.created_s)
    const live = all.filter((session) => session.live)
    const over = all.filter((session) => !session.live && now() - (session.end_s || session.created_s) < RECENT_S)
    const shown = [...live, ...over.slice(0, live.length % 2 ? 1 : MOST_ENDED)]
    body = shown.length
      ? h("div", {class: "cards"}, shown.map((session) => card(app, session, {compact: true})))
      : app.topic("quick")?.refusal ? empty("No session", "Sessions that you start show here.")
        : empty("No session yet", "Start JupyterLab from “Launch”: it opens here, in the browser, on a node of the cluster, with your own files.")
  }
  return h("section", {class: "block", "aria-labelledby": "home-mine", key: "mine"},
    h("div", {class: "block-head"}, h("h2", {id: "home-mine"}, "Your sessions"),
      go(app, "/sessions", {class: "more"}, "All sessions")), body)
}

// -- Launch: two clicks ------------------------------------------------------------------------------------

function quick(app, cluster) {
  const offer = app.topic("quick")
  let body
  if (!offer) body = skeleton(4)
  else if (offer.refusal) body = empty("You can’t launch here", offer.refusal)
  else {
    const free = Object.fromEntries((cluster ? cluster.gpus : []).map((gpu) => [gpu.type, gpu]))
    body = h("ul", {class: "quick"}, offer.entries.slice(0, QUICK_ROWS).map((entry) => {
      const gpu = entry.gpu_type ? free[entry.gpu_type] : null
      const cpus = cluster ? cluster.totals.cpus_free : null
      const note = gpu ? (gpu.free ? `${count(gpu.free)} free` : "none free, will wait") : entry.gpu_type || cpus === null ? "" : cpus ? `${many(cpus, "CPU")} free` : "none free, will wait"
      return h("li", {key: entry.gpu_type || "cpu"},
        h("button", {type: "button", class: "quick-row", onclick: () => confirmLaunch(app, entry)},
          h("span", {class: "quick-what"}, `${offer.app_title} on ${entry.gpu_type ? model(entry.gpu_type) : "CPUs"}`),
          h("span", {class: "quick-note num" + (note.startsWith("none") ? " none" : "")}, note), icon("right")))
    }))
  }
  return h("section", {class: "block", "aria-labelledby": "home-launch", key: "launch"},
    h("div", {class: "block-head"}, h("h2", {id: "home-launch"}, "Launch"), go(app, "/launch", {class: "more"}, "All choices")), body)
}

function confirmLaunch(app, entry) {
  const {request} = entry
  const what = `${app.topic("quick").app_title} on ${entry.gpu_type ? model(entry.gpu_type) : "CPUs"}`
  const ask = {busy: false, fit: null, error: "", key: crypto.randomUUID?.() || `${Math.random()}`}
  app.call("launch.look", {request}).then((look) => {
    ask.fit = look.fit
    ask.problems = look.problems
    app.render()
  }, () => {})
  const start = async () => {
    ask.busy = true
    ask.error = ""
    app.render()
    try {
      const session = await app.call("launch.start", {request, key: ask.key})
      app.closeDialog()
      app.go(`/sessions?session=${session.id}`)
    } catch (error) {
      ask.busy = false
      ask.error = error.message
      app.render()
    }
  }
  app.ask(() => ({
    key: "quick", title: what, onclose: () => app.closeDialog(),
    body: [
      facts([
        ["Resources", resources(request)],
        ["Time", request.time_s ? span(request.time_s) : "the partition’s default"],
        ["Account", request.account],
        ["Partition", request.partition],
        ["Image", request.image],
      ]),
      h("p", {class: "fit" + (ask.fit && ask.fit.fits ? " good" : ""), role: "status"},
        ask.fit ? [h("span", {"aria-hidden": "true"}, ask.fit.fits ? "✓ " : "◷ "), ask.fit.words] : ask.problems?.length ? "" : "Looking for room …"),
      (ask.problems || []).map((problem) => h("p", {class: "problem", key: problem.field + problem.message}, `✕ ${problem.message}`)),
      ask.error ? h("p", {class: "problem", role: "alert"}, `✕ ${ask.error}`) : null,
    ],
    actions: [
      go(app, entry.href, {class: "button"}, "Change …"),
      h("button", {type: "button", class: "button primary", "data-first": "", disabled: ask.busy, onclick: start}, ask.busy ? "Starting …" : "Start"),
    ],
  }))
}

// -- The cluster in figures --------------------------------------------------------------------------------

function figures(app, cluster) {
  if (!cluster) return h("section", {class: "block", key: "figures"}, skeleton(6))
  const {totals, queue} = cluster
  const mine_ = app.topic("mine")
  return h("div", {class: "figure-grid", key: "figures"},
    h("section", {class: "block", "aria-labelledby": "home-use", key: "use"},
      h("div", {class: "block-head"}, h("h2", {id: "home-use"}, "Cluster in use")),
      totals.nodes
        ? h("div", {class: "meters"},
            meter({label: "CPUs", used: totals.cpus_allocated, total: totals.cpus, off: totals.cpus_down, words: `${count(totals.cpus_allocated)} of ${count(totals.cpus)}`}),
            totals.gpus ? meter({label: "GPUs", used: totals.gpus_allocated, total: totals.gpus, off: totals.gpus_down, words: `${count(totals.gpus_allocated)} of ${count(totals.gpus)}`}) : null,
            meter({label: "Memory", used: totals.memory_allocated_mb, total: totals.memory_mb, off: totals.memory_down_mb, words: `${memory(totals.memory_allocated_mb)} of ${memory(totals.memory_mb)}`}),
            meter({label: "Nodes", used: totals.nodes_busy, total: totals.nodes, off: totals.nodes_down, words: `${count(totals.nodes_busy)} of ${count(totals.nodes)}${totals.nodes_down ? `, ${count(totals.nodes_down)} unavailable` : ""}`}))
        : empty("No nodes yet", "They appear with the first answer of the scheduler.")),
    h("section", {class: "block", "aria-labelledby": "home-queue", key: "queue"},
      h("div", {class: "block-head"}, h("h2", {id: "home-queue"}, "Queue"), go(app, "/jobs", {class: "more"}, "All jobs")),
      h("div", {class: "stats"},
        queueStat(app, queue.running, "running", app.boot.all_jobs ? "/jobs?who=all&state=RUNNING" : null),
        queueStat(app, queue.pending, "pending", app.boot.all_jobs ? "/jobs?who=all&state=PENDING" : null),
        queueStat(app, mine_ ? mine_.jobs.running + mine_.jobs.pending : null, "yours", "/jobs")),
      queue.reasons.length ? h("div", {class: "reasons"}, h("p", {class: "quiet-text"}, "Why jobs wait"),
        h("ul", {}, queue.reasons.map(([word, number]) => h("li", {key: word}, h("span", {}, word), h("span", {class: "num"}, count(number)))))) : null))
}

function gpus(app, cluster) {
  if (cluster && !cluster.gpus.length && cluster.totals.nodes) return null
  return h("section", {class: "block", "aria-labelledby": "home-gpus", key: "gpus"},
    h("div", {class: "block-head"}, h("h2", {id: "home-gpus"}, "Free GPUs"), go(app, "/cluster?gpu=any", {class: "more"}, "Node map")),
    !cluster ? skeleton(4)
      : cluster.gpus.length ? h("div", {class: "meters"}, cluster.gpus.map((gpu) => gpuRow(gpu)))
        : h("p", {class: "quiet-text"}, "The nodes have not been read yet."))
}

function queueStat(app, value, label, href) {
  const content = [h("span", {class: "stat-value num"}, count(value)), h("span", {class: "stat-label"}, label)]
  return href ? go(app, href, {class: "stat", key: label}, content) : h("div", {class: "stat", key: label}, content)
}

function gpuRow(gpu) {
  const words = `${count(gpu.free)} of ${count(gpu.total)} free${gpu.reserved ? `, ${count(gpu.reserved)} reserved` : ""}${gpu.down ? `, ${count(gpu.down)} down` : ""}`
  return h("div", {class: "meter-row", key: gpu.type},
    h("span", {class: "meter-label"}, model(gpu.type)), h("span", {class: "meter-words num" + (gpu.free ? "" : " none")}, words),
    h("div", {class: "meter gpu", role: "img", "aria-label": `${model(gpu.type)}: ${words}`},
      h("i", {class: "used", style: {width: `${percent(gpu.allocated, gpu.total)}%`}}),
      gpu.down + gpu.reserved ? h("i", {class: "off", style: {width: `${percent(gpu.down + gpu.reserved, gpu.total)}%`}}) : null))
}

function news(cluster) {
  if (!cluster || (!cluster.news.html && !cluster.news.error)) return null
  return h("section", {class: "block", "aria-labelledby": "home-news", key: "news"},
    h("div", {class: "block-head"}, h("h2", {id: "home-news"}, "News")),
    cluster.news.error ? h("p", {class: "quiet-text"}, cluster.news.error) : html("markdown", cluster.news.html, {class: "markdown"}))
}
