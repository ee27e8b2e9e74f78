// Launch: a short form; more on request. What is chosen stands in the address. While choosing, the console says how
// much room there is now and, if it doesn't fit, when the scheduler expects it to start.
import {h} from "./dom.js"
import {ahead, count, many, memory, model, parseSpan, span, when} from "./format.js"
import {icon} from "./icons.js"
import {hintBox, lookForHint} from "./launchhint.js"
import {empty, facts, field, pills, select, skeleton} from "./ui.js"

export const title = "Launch"
export const topics = () => ["home", "mine"]

const PAUSE_MS = 500 // after the last change, before the scheduler is asked
const NUMBERS = ["gpus", "nodes", "cpus", "memory_mb", "time_s"]
const TEXTS = ["app", "account", "cluster", "partition", "qos", "gpu_type", "image", "work_dir", "reservation", "title"]
const MORE = ["nodes", "cpus", "memory_mb", "qos", "partition", "image", "work_dir", "reservation", "title"]

const state = (app) => (app.state.launch ??= {options: null, error: "", request: null, more: false, look: null, looked: "", estimate: null, busy: false, problems: [], key: "", typed: {}})

export function enter(app) {
  const own = state(app)
  own.key = crypto.randomUUID?.() || `${Math.random()}`
  own.refused = ""
  own.problems = []
  app.call("launch.options").then((options) => {
    own.options = options
    own.error = ""
    read(app)
    check(app, true)
    app.render()
  }, (error) => {
    own.error = error.message
    app.render()
  })
  if (own.options) {
    read(app)
    check(app, true)
  }
}

export function moved(app) {
  if (state(app).options) {
    read(app)
    check(app)
  }
}

export function leave(app) {
  clearTimeout(state(app).timer)
}

export function arrived(app, topic) {
  // The room changes with the cluster.
  if (topic === "home" && state(app).options) check(app, true)
}

/** The request that the address stands for: defaults, and over them what was chosen. */
function read(app) {
  const own = state(app)
  const {query} = app.route
  const request = {...own.options.defaults}
  const chosen = [...query.keys()]
  // Another GPU model than the default's: the console works out the rest again.
  if (chosen.some((name) => ["gpus", "gpu_type", "partition", "app"].includes(name))) {
    for (const name of ["partition", "qos"]) request[name] = ""
    for (const name of ["cpus", "memory_mb"]) request[name] = 0
  }
  for (const name of TEXTS) if (query.has(name)) request[name] = query.get(name).slice(0, 10000)
  for (const name of NUMBERS) {
    const value = Number(query.get(name))
    if (query.has(name) && Number.isSafeInteger(value) && value >= 0) request[name] = value
  }
  if (!request.gpus) request.gpu_type = ""
  if (!request.nodes) request.nodes = 1
  own.request = request
  if (MORE.some((name) => query.has(name) && name !== "partition")) own.more = true
}

function choose(app, changes) {
  app.query(Object.fromEntries(Object.entries(changes).map(([name, value]) => [name, value === null ? null : String(value)])), {replace: true})
}

/** Ask what stands against it and how much room there is; the scheduler's forecast only when it doesn't fit. */
function check(app, again = false) {
  const own = state(app)
  const key = JSON.stringify(own.request)
  if (own.looked === key && !again) return
  if (own.looked !== key) {
    own.look = null
    own.estimate = null
    own.refused = ""
    own.problems = []
  }
  own.looked = key
  clearTimeout(own.timer)
  lookForHint(app, own)
  app.call("launch.look", {request: own.request}).then((look) => {
    if (own.looked !== key) return
    own.look = look
    app.render()
    if (!look.problems.length && !look.fit.fits && !(again && own.estimate)) own.timer = setTimeout(() => estimate(app, key), PAUSE_MS)
  }, (error) => {
    if (own.looked !== key) return
    own.look = {problems: [], fit: null, error: error.message}
    app.render()
  })
}

function estimate(app, key) {
  const own = state(app)
  own.estimate = {asking: true}
  app.render()
  app.call("launch.estimate", {request: own.request}).then((answer) => answer, (error) => ({start_s: null, words: error.message})).then((answer) => {
    if (own.looked !== key) return
    own.estimate = answer
    app.render()
  })
}

async function start(app, event) {
  event?.preventDefault()
  const own = state(app)
  if (blocked(own)) return
  own.busy = true
  own.refused = ""
  app.render()
  try {
    const session = await app.call("launch.start", {request: own.request, key: own.key})
    own.busy = false
    app.go(`/sessions?session=${session.id}`)
    app.say(`${session.name} is being started`)
  } catch (error) {
    own.busy = false
    own.refused = error.message
    own.problems = error.problems || []
    own.key = crypto.randomUUID?.() || `${Math.random()}`
    app.render()
  }
}

/** Why it can't be started now, in words; "" when it can. */
function blocked(own) {
  if (own.options.refusal) return own.options.refusal
  if (own.busy) return "It is being handed to the scheduler."
  if (Object.values(own.typed).some((entry) => entry.wrong)) return "One field can’t be read; see there."
  if (own.look?.problems.length) return own.look.problems.length === 1 ? own.look.problems[0].message : `${many(own.look.problems.length, "thing")} in the form must change first.`
  return ""
}

export function view(app) {
  const own = state(app)
  const head = h("div", {class: "head"}, h("h1", {}, "Launch"), h("p", {class: "sub"}, "An app on the cluster, opened here in the browser."))
  if (own.error) return {body: [head, empty("The form can’t be shown", own.error)]}
  if (!own.options || !own.request) return {body: [head, h("section", {class: "block"}, skeleton(10))]}
  if (own.options.refusal) return {body: [head, empty("You can’t launch here", own.options.refusal)]}
  return {body: [head, h("form", {class: "columns launch", onsubmit: (event) => start(app, event), novalidate: ""}, h("div", {class: "main-column"}, form(app, own)), h("div", {class: "side-column"}, ticket(app, own)))]}
}

function form(app, own) {
  const {options, request} = own
  const wrong = (name) => {
    const all = [...(own.look?.problems || []), ...own.problems].filter((problem) => problem.field === name)
    return all.length ? [...new Set(all.map((problem) => problem.message))].join(" ") : own.typed[name]?.wrong || ""
  }
  const group = (name, label, control, extra) => h("div", {class: "field" + (wrong(name) ? " wrong" : ""), key: name},
    h("span", {class: "label", id: `l-${name}`}, label), control,
    wrong(name) ? h("p", {class: "problem"}, h("span", {"aria-hidden": "true"}, "✕ "), wrong(name)) : null, extra)
  return [
    h("section", {class: "block form", "aria-label": "What and where", key: "short"},
      group("app", "What to start", options.apps.length
        ? pills({label: "What to start", value: request.app, onpick: (value) => choose(app, {app: value}), options: options.apps.map((item) => ({value: item.name, label: item.title}))})
        : h("p", {class: "quiet-text"}, "No app is set up here.")),
      gpuField(app, own, group, wrong),
      timeField(app, own, group),
      accountField(app, own, group)),
    hintBox(app, own),
    h("section", {class: "block form", "aria-label": "More", key: "more"},
      h("button", {type: "button", class: "disclosure", "aria-expanded": String(own.more), onclick: () => { own.more = !own.more; app.render() }},
        icon(own.more ? "down" : "right"), "More", h("span", {class: "quiet-text"}, own.more ? "" : moreSummary(request))),
      own.more ? h("div", {class: "form-grid", key: "grid"}, moreFields(app, own, wrong)) : null),
  ]
}

const moreSummary = (request) => [
  request.nodes > 1 ? many(request.nodes, "node") : "", request.cpus ? many(request.cpus, "CPU") : "", request.memory_mb ? memory(request.memory_mb) : "",
  request.partition ? `partition ${request.partition}` : "", request.image ? `image ${request.image}` : "",
].filter(Boolean).join(" · ") || "nodes, CPUs, memory, QOS, partition, image, folder, reservation"

function gpuField(app, own, group, wrong) {
  const {options, request} = own
  if (!options.gpus.length) return null
  const live = Object.fromEntries((app.topic("home")?.gpus || []).map((gpu) => [gpu.type, gpu]))
  const types = options.gpus.map((gpu) => {
    const free = live[gpu.type]?.free ?? gpu.free
    return {value: gpu.type, label: model(gpu.type), note: free ? `${count(free)} of ${count(gpu.total)} free` : `none of ${count(gpu.total)} free`}
  })
  const pick = (value) => choose(app, value === "" ? {gpus: 0, gpu_type: null, partition: null, cpus: null, memory_mb: null} : {gpu_type: value, gpus: Math.min(Math.max(1, request.gpus), options.gpus.find((gpu) => gpu.type === value).per_node || 1), partition: null, cpus: null, memory_mb: null})
  const chosen = options.gpus.find((gpu) => gpu.type === request.gpu_type)
  const most = chosen ? chosen.per_node : Math.max(...options.gpus.map((gpu) => gpu.per_node))
  const numbers = [1, 2, 3, 4, 6, 8, 12, 16].filter((number) => number <= most && (most <= 4 || number !== 3))
  if (request.gpus && !numbers.includes(request.gpus)) numbers.push(request.gpus)
  return [
    group("gpu_type", "GPU", pills({label: "GPU", value: request.gpus ? request.gpu_type : "", onpick: pick, options: [...types, {value: "", label: "CPU only"}]})),
    request.gpus ? group("gpus", request.nodes > 1 ? "How many on each node" : "How many", pills({label: "Number of GPUs", value: request.gpus, onpick: (value) => choose(app, {gpus: value, cpus: null, memory_mb: null}), options: numbers.sort((a, b) => a - b).map((number) => ({value: number, label: String(number)}))})) : null,
  ]
}

function timeField(app, own, group) {
  const {options, request, typed} = own
  const times = [...new Set([...options.times_s, ...(request.time_s ? [request.time_s] : [])])].sort((a, b) => a - b)
  const text = typed.time_s?.text ?? ""
  const set = (value) => {
    const seconds = parseSpan(value)
    if (!value.trim()) delete typed.time_s
    else typed.time_s = {text: value, wrong: seconds === null ? "Write a time such as 90 min, 6 h or 1 d." : ""}
    if (seconds) choose(app, {time_s: Math.max(60, seconds)})
    else app.render()
  }
  return group("time_s", "For how long", h("div", {class: "inline"},
    pills({label: "Time limit", value: request.time_s, onpick: (value) => { delete typed.time_s; choose(app, {time_s: value}) }, options: times.map((seconds) => ({value: seconds, label: span(seconds)}))}),
    h("input", {type: "text", class: "short-input", "aria-label": "Another time, such as 90 min", placeholder: "or 90 min", value: text, onchange: (event) => set(event.target.value)})))
}

function accountField(app, own, group) {
  const {options, request} = own
  if (options.accounts.length < 2 && options.accounts[0]?.name === request.account) return null
  const few = options.accounts.length <= 5
  const named = (item) => (options.projects[item.name] ? `${item.name} (${options.projects[item.name]})` : item.name)
  const unknown = request.account && !options.accounts.some((item) => item.name === request.account) ? [{value: request.account, label: request.account}] : []
  return group("account", "Account to charge", few
    ? pills({label: "Account", value: request.account, onpick: (value) => choose(app, {account: value}), options: [...options.accounts.map((item) => ({value: item.name, label: named(item), title: item.description})), ...unknown]})
    : select({id: "f-account", value: request.account, onchange: (value) => choose(app, {account: value}), options: [...options.accounts.map((item) => ({value: item.name, label: item.description ? `${named(item)} – ${item.description}` : named(item)})), ...unknown]}))
}

function moreFields(app, own, wrong) {
  const {options, request, typed} = own
  // What the address asks for is shown also when it can't be had: the problem beside it says so.
  const also = (choices, value) => (!value || choices.some((item) => item.value === value) ? choices : [...choices, {value, label: value}])
  const pick = (name, label, choices, hint) => field({id: `f-${name}`, label, hint, problem: wrong(name),
    control: select({id: `f-${name}`, value: request[name], problem: wrong(name), onchange: (value) => choose(app, {[name]: value}), options: also(choices, request[name])})})
  const type = (name, label, {placeholder, hint, read = (text) => text, show = (value) => value, wrongWords} = {}) => field({id: `f-${name}`, label, hint, problem: wrong(name),
    control: h("input", {type: "text", id: `f-${name}`, placeholder, autocomplete: "off", spellcheck: "false", value: typed[name]?.text ?? show(request[name]), "aria-invalid": wrong(name) ? "true" : undefined, "aria-describedby": wrong(name) ? `f-${name}-problem` : undefined,
      onchange: (event) => {
        const text = event.target.value.trim()
        const value = read(text)
        if (value === null) {
          typed[name] = {text, wrong: wrongWords}
          app.render()
        } else {
          delete typed[name]
          choose(app, {[name]: text === "" ? null : value})
        }
      }})})
  const whole = (text) => (text === "" ? 0 : /^\d{1,9}$/.test(text) ? Number(text) : null)
  const size = (text) => {
    if (text === "") return 0
    const parts = /^(\d+(?:[.,]\d+)?)\s*(m|g|t)?i?b?$/i.exec(text)
    if (!parts) return null
    return Math.round(Number(parts[1].replace(",", ".")) * {m: 1, g: 1024, t: 1048576}[(parts[2] || "g").toLowerCase()])
  }
  const account = options.accounts.find((item) => item.name === request.account)
  const partitions = options.partitions.filter((item) => !request.account || item.accounts.includes(request.account))
  const images = options.images.filter((item) => !item.apps.length || item.apps.includes(request.app))
  return [
    type("nodes", "Nodes", {placeholder: "1", read: whole, show: (value) => (value > 1 ? String(value) : ""), wrongWords: "A whole number is wanted.", hint: options.max_nodes > 1 ? `up to ${count(options.max_nodes)}` : ""}),
    type("cpus", "CPUs on each node", {placeholder: "a fair share", read: whole, show: (value) => (value ? String(value) : ""), wrongWords: "A whole number is wanted.", hint: `up to ${count(options.max_cpus)}`}),
    type("memory_mb", "Memory on each node", {placeholder: "a fair share", read: size, show: (value) => (value ? memory(value) : ""), wrongWords: "Write a size such as 32 GB.", hint: `up to ${memory(options.max_memory_mb)}`}),
    pick("partition", "Partition", [{value: "", label: "Chosen by the console"}, ...partitions.map((item) => ({value: item.name, label: `${item.name} (up to ${item.max_time_s === null ? "any time" : span(item.max_time_s)})`}))]),
    (account ? account.qos : options.qos).length ? pick("qos", "QOS", [{value: "", label: "The default"}, ...(account && account.qos.length ? account.qos : options.qos).map((name) => ({value: name, label: name}))]) : null,
    options.images.length || options.image_paths ? (options.image_paths
      ? type("image", "Container image", {placeholder: "none", hint: [options.images.length ? `${images.map((item) => item.name).join(", ")} or ` : "", "the path of an image"].join("")})
      : pick("image", "Container image", images.map((item) => ({value: item.name, label: item.name})))) : null,
    type("work_dir", "Working folder", {placeholder: "your home"}),
    options.reservations.length || request.reservation ? pick("reservation", "Reservation", [{value: "", label: "None"}, ...[...new Set([...options.reservations, request.reservation])].filter(Boolean).map((name) => ({value: name, label: name}))]) : null,
    type("title", "Title", {placeholder: "for your own list"}),
  ]
}

/** The right side: what will be asked for, whether it fits, the button. */
function ticket(app, own) {
  const {options, request, look} = own
  const stop = blocked(own)
  const general = [...(look?.problems || []), ...own.problems].filter((problem) => problem.field === "" || !shown(problem.field, own))
  const app_ = options.apps.find((item) => item.name === request.app)
  return h("section", {class: "block ticket", "aria-label": "Summary", key: "ticket"},
    h("h2", {}, app_ ? app_.title : request.app || "Nothing chosen"),
    facts([
      ["GPUs", request.gpus ? `${request.gpus} × ${model(request.gpu_type)}${request.nodes > 1 ? " on each node" : ""}` : "none"],
      ["CPUs", request.cpus ? count(request.cpus) : "a fair share"],
      ["Memory", request.memory_mb ? memory(request.memory_mb) : "a fair share"],
      request.nodes > 1 ? ["Nodes", count(request.nodes)] : null,
      ["Time", request.time_s ? span(request.time_s) : "the default"],
      ["Account", request.account],
      ["Partition", request.partition || "chosen for you"],
      request.image ? ["Image", request.image] : null,
    ]),
    h("div", {class: "fit-box", role: "status", "aria-live": "polite"}, fitWords(own)),
    [...new Set(general.map((problem) => problem.message))].map((message) => h("p", {class: "problem", key: message}, h("span", {"aria-hidden": "true"}, "✕ "), message)),
    own.refused && !own.problems.length ? h("p", {class: "problem", role: "alert"}, h("span", {"aria-hidden": "true"}, "✕ "), own.refused) : null,
    h("button", {type: "submit", class: "button primary full", disabled: !!stop, "aria-describedby": stop ? "start-why" : undefined}, icon("launch"), own.busy ? "Starting …" : "Start"),
    stop && !own.busy ? h("p", {class: "hint", id: "start-why"}, stop) : null)
}

const shown = (name, own) => ["app", "gpu_type", "gpus", "time_s", "account"].includes(name) || own.more

function fitWords(own) {
  const {look} = own
  if (!look) return h("p", {class: "fit"}, "Looking for room …")
  if (look.error) return h("p", {class: "problem"}, look.error)
  if (look.problems.length) return h("p", {class: "fit"}, h("span", {"aria-hidden": "true"}, "▲ "), "It can’t run like this.")
  if (look.fit.fits) return h("p", {class: "fit good"}, h("span", {"aria-hidden": "true"}, "✓ "), look.fit.words)
  const forecast = own.estimate
  return [
    h("p", {class: "fit"}, h("span", {"aria-hidden": "true"}, "◷ "), look.fit.words),
    !forecast || forecast.asking ? h("p", {class: "quiet-text"}, "Asking the scheduler when it would start …")
      : h("p", {}, forecast.start_s ? h("strong", {}, `Expected ${ahead(forecast.start_s)} (${when(forecast.start_s)}). `) : null, forecast.words),
  ]
}

