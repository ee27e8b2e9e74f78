// A session, as a card: the same on Home and on Sessions.
import {h} from "../dom.js"
import {SESSION_STATES, ahead, full, many, memory, model, now, span, ticking, when} from "../format.js"
import {icon} from "../icons.js"
import {sparks} from "./spark.js"
import {badge, go} from "../ui.js"

/** What it has, in a few words: 1 × A100 · 8 CPUs · 32 GB. */
export function resources(request) {
  const words = []
  if (request.gpus) words.push(`${request.gpus} × ${model(request.gpu_type)}`)
  if (request.cpus) words.push(many(request.cpus, "CPU"))
  if (request.memory_mb) words.push(memory(request.memory_mb))
  if (request.nodes > 1) words.unshift(many(request.nodes, "node"))
  if (!request.gpus && !request.cpus) words.push("CPU only")
  return words.join(" · ")
}

/** The launch form, filled with what this session asked for; no GPU is a choice, too. */
export function launchHref(request) {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(request)) {
    if (name !== "gpus" && (name === "cluster" || value === "" || value === 0 || (name === "nodes" && value === 1))) continue
    query.set(name, String(value))
  }
  const text = query.toString()
  return "/launch" + (text ? "?" + text : "")
}

function moment(session) {
  const {state} = session
  if (state === "submitting") return "Being handed to the scheduler"
  if (state === "pending") {
    const expected = session.start_s && session.start_expected
    return expected ? [`Expected to start ${ahead(session.start_s)}`, h("span", {class: "quiet-text"}, ` (${when(session.start_s)})`)] : `Waiting for ${span(now() - session.created_s)}`
  }
  if (state === "starting") return `On its node; the app is starting (${span(now() - (session.start_s || session.created_s))})`
  if (state === "ready" || state === "stopping") {
    if (!session.limit_end_s) return session.start_s ? `Running for ${span(now() - session.start_s)}` : "Running"
    const left = session.limit_end_s - now()
    return [h("span", {class: "num" + (left < 600 ? " soon" : ""), "data-until": String(session.limit_end_s)}, ticking(left)), ` left of ${span(session.limit_end_s - (session.start_s || session.created_s))}`]
  }
  const ran = session.start_s && session.end_s && !session.start_expected ? `, ran ${span(session.end_s - session.start_s)}` : ""
  return session.end_s ? `${when(session.end_s)}${ran}` : "Over"
}

export function card(app, session, {compact = false, fresh = false} = {}) {
  const look = SESSION_STATES[session.state] || SESSION_STATES.ended
  const facts = [
    session.node ? ["Host", session.node] : null,
    ["Resources", resources(session.request)],
    session.account && !compact ? ["Account", session.account] : null,
    session.request.partition && !compact ? ["Partition", session.request.partition] : null,
    session.job_id ? ["Job", go(app, `/job?id=${session.job_id}`, {class: "num"}, String(session.job_id))] : null,
    session.request.image && !compact ? ["Image", session.request.image] : null,
  ].filter(Boolean)
  return h("article", {class: `session ${look[0]}` + (fresh ? " fresh" : ""), key: session.id, "aria-label": `${session.name}: ${look[2]}`,
    onmount: fresh ? (el) => requestAnimationFrame(() => el.scrollIntoView({block: "nearest"})) : undefined},
    h("div", {class: "session-head"},
      h("div", {class: "session-name"},
        h(compact ? "h3" : "h2", {}, session.name),
        session.title ? h("span", {class: "quiet-text"}, session.app_title) : null),
      badge(look)),
    h("p", {class: "session-moment"}, moment(session)),
    sparks(app, session),
    idle(app, session),
    session.reason ? h("p", {class: "session-reason" + (session.state === "failed" ? " bad" : "")}, session.reason) : null,
    h("dl", {class: "session-facts"}, facts.map(([name, value]) => h("div", {key: name}, h("dt", {}, name), h("dd", {}, value)))),
    h("div", {class: "session-actions"}, actions(app, session, compact)))
}

function actions(app, session, compact) {
  const list = []
  if (session.state === "ready") {
    for (const item of session.apps.filter((entry) => entry.state === "ready")) list.push(openButton(app, session, item))
  }
  for (const item of session.apps.filter((entry) => entry.state === "failed" && session.live)) {
    list.push(h("span", {class: "badge bad", key: `failed-${item.name}`}, h("span", {class: "glyph", "aria-hidden": "true"}, "✕"), `${item.title} failed`))
  }
  list.push(h("span", {class: "grow", key: "grow"}))
  if (!session.live) {
    list.push(go(app, launchHref(session.request), {class: "button", key: "again"}, icon("again"), "Relaunch"))
  }
  if (session.job_id && !compact) {
    list.push(h("button", {type: "button", class: "button quiet", key: "log", onclick: () => app.go(`/sessions?log=${session.id}`)}, icon("log"), "Log"))
  }
  if (session.live) {
    list.push(h("button", {type: "button", class: "button quiet danger", key: "stop", disabled: session.state === "stopping",
      "aria-label": `Stop ${session.name}`, onclick: () => confirmStop(app, session)}, icon("stop"), session.state === "stopping" ? "Stopping" : "Stop"))
  } else if (!compact) {
    list.push(h("button", {type: "button", class: "button quiet", key: "remove", "aria-label": `Remove ${session.name} from the list`,
      onclick: () => remove(app, session)}, icon("remove"), "Remove"))
  }
  return list
}

/** An idle session that will soon end, and the way to keep it. */
function idle(app, session) {
  if (!session.idle_end_s || session.idle_end_s - now() > app.boot.idle_warn_s) return null
  return h("div", {class: "notice wait session-idle", role: "status", key: "idle"},
    h("p", {}, `Idle for ${span(now() - session.idle_since_s)}; it will end at `, h("span", {class: "num"}, when(session.idle_end_s)), "."),
    h("button", {type: "button", class: "button", "aria-label": `Keep ${session.name}`, onclick: () => keep(app, session)}, "Keep it"))
}

async function keep(app, session) {
  try {
    await app.call("sessions.keep", {id: session.id})
    app.say(`${session.name} is kept`)
  } catch (error) {
    app.toast(error.message, "bad")
  }
}

async function remove(app, session) {
  try {
    await app.call("sessions.remove", {id: session.id})
    app.root.querySelector("#content").focus({preventScroll: true}) // the button is about to go
    app.say(`${session.name} is removed from the list`)
  } catch (error) {
    app.toast(error.message, "bad")
  }
}

function openButton(app, session, item) {
  const {csrf, paths} = app.boot
  return h("form", {method: "post", action: `/sessions/${encodeURIComponent(session.id)}/open/${encodeURIComponent(item.name)}`, target: "_blank", rel: "noopener", key: `open-${item.name}`},
    h("input", {type: "hidden", name: paths.csrf_field, value: csrf}),
    h("button", {type: "submit", class: "button primary"}, icon("open"), `Open ${item.title}`))
}

export function confirmStop(app, session) {
  let busy = false
  const stop = async () => {
    busy = true
    app.render()
    try {
      await app.call("sessions.stop", {id: session.id})
      app.closeDialog()
      app.say(`${session.name} is being stopped`)
    } catch (error) {
      app.closeDialog()
      app.toast(error.message, "bad")
    }
  }
  app.ask(() => ({
    key: "stop", title: `Stop ${session.name}?`, onclose: () => app.closeDialog(),
    body: session.start_s && !session.start_expected
      ? "What is not saved in it is lost. Files on disk stay."
      : "It has not started yet; its place in the queue is given up.",
    actions: [
      h("button", {type: "button", class: "button", "data-first": "", onclick: () => app.closeDialog()}, "Keep it"),
      h("button", {type: "button", class: "button danger solid", disabled: busy, onclick: stop}, busy ? "Stopping …" : "Stop"),
    ],
  }))
}

export const endedAt = (session) => full(session.end_s)
