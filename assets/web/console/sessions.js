// Sessions: every session of the person as a card; those that are over below.
import {h} from "./dom.js"
import {full, many} from "./format.js"
import {icon} from "./icons.js"
import {askPermission, mayAsk} from "./notify.js"
import {card} from "./sessions/card.js"
import {drawer, empty, go, skeleton} from "./ui.js"

export const title = "Sessions"
export const topics = () => ["mine", "sparks"]

const LOG_EVERY_MS = 5000
const WAITING = ["submitting", "pending", "starting"]
const state = (app) => (app.state.sessions ??= {log: null, error: "", asked: "", timer: 0})

export function enter(app) {
  look(app)
}
export const moved = enter

export function leave(app) {
  clearInterval(state(app).timer)
  state(app).asked = ""
}

function look(app) {
  const own = state(app)
  const id = app.route.query.get("log") || ""
  if (own.asked === id) return
  own.asked = id
  own.log = null
  own.error = ""
  clearInterval(own.timer)
  if (!id) return
  const read = () => app.call("sessions.log", {id}).then(({text}) => {
    if (own.asked !== id) return
    own.error = ""
    if (text !== own.log) {
      own.log = text
      app.render()
    }
    // What is over writes no more.
    if (app.topic("mine")?.sessions[id]?.live === false) clearInterval(own.timer)
  }, (error) => {
    if (own.asked !== id) return
    own.error = error.message
    app.render()
  })
  own.timer = setInterval(read, LOG_EVERY_MS)
  read()
}

export function view(app) {
  const mine = app.topic("mine")
  const all = mine ? Object.values(mine.sessions).sort((a, b) => b.created_s - a.created_s) : []
  const live = all.filter((session) => session.live)
  const over = all.filter((session) => !session.live)
  const fresh = app.route.query.get("session")
  const log = app.route.query.get("log")
  const logged = log ? all.find((session) => session.id === log) : null
  return {
    body: [
      h("div", {class: "head"}, h("h1", {}, "Sessions"), h("p", {class: "sub"}, mine ? (live.length ? `${many(live.length, "session")} active` : "None active") : " "),
        h("div", {class: "head-tools"},
          mayAsk() && live.some((session) => WAITING.includes(session.state)) ? h("button", {type: "button", class: "button", onclick: () => askPermission(app)}, icon("bell"), "Notify me when ready") : null,
          go(app, "/launch", {class: "button primary"}, icon("launch"), "Launch"))),
      !mine ? skeleton(8)
        : all.length === 0
          ? empty("No sessions yet", "A session is an app such as JupyterLab on a node of the cluster, opened here in the browser.", h("p", {}, go(app, "/launch", {class: "button primary"}, "Launch the first one")))
          : [
              live.length ? h("section", {class: "cards wide", "aria-label": "Active sessions", key: "live"}, live.map((session) => card(app, session, {fresh: session.id === fresh})))
                : empty("No active session", "Those that are over are below; “Relaunch” fills the form with what one of them had."),
              over.length ? h("section", {"aria-labelledby": "sessions-over", class: "over-list", key: "over"}, h("h2", {id: "sessions-over"}, "Over"), h("div", {class: "cards wide"}, over.map((session) => card(app, session)))) : null,
            ],
    ],
    over: log ? logDrawer(app, logged) : null,
  }
}

function logDrawer(app, session) {
  const own = state(app)
  return drawer(app, {
    key: "log-drawer", title: session ? `Log of ${session.name}` : "Log", onclose: () => app.query({log: null}),
    sub: session ? `${session.job_id ? `Job ${session.job_id}` : ""}${session.end_s ? `, ended ${full(session.end_s)}` : ""}` : null,
    body: own.error ? empty("No log to show", own.error) : own.log === null ? skeleton(10)
      : own.log.trim() === "" ? empty("Nothing written yet", "What the app prints shows here.")
        : h("pre", {class: "log", key: "log", onmount: (el) => requestAnimationFrame(() => { el.parentNode.scrollTop = el.parentNode.scrollHeight })}, own.log),
  })
}
