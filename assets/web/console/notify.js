// What a person is told when a session of theirs changes: spoken, and as the browser's own notification when they
// asked for it.
import {SESSION_STATES} from "./format.js"

const seen = new Map()
const told = new Set() // sessions whose readiness was told: once each, whatever they do later
const SHOWN_ON = ["home", "sessions"] // their cards say it
let primed = false

export function announceChanges(app) {
  const mine = app.topic("mine")
  if (!mine) return
  const spoken = []
  for (const session of Object.values(mine.sessions)) {
    const before = seen.get(session.id)
    seen.set(session.id, session.state)
    if (!primed || before === session.state) {
      if (session.state === "ready") told.add(session.id)
      continue
    }
    if (before === undefined && !session.live) continue
    spoken.push(`${session.name}: ${SESSION_STATES[session.state]?.[2] || session.state}`)
    if (session.state === "ready" && !told.has(session.id)) {
      told.add(session.id)
      if (document.hidden) notify(app, session)
      else if (!SHOWN_ON.includes(app.route.page)) app.toast(`${session.name} is ready.`, "good")
    }
  }
  if (spoken.length) app.say(spoken.join(". "))
  primed = true
}

function notify(app, session) {
  if (typeof Notification === "undefined" || Notification.permission !== "granted") return
  let note
  try {
    note = new Notification(`${session.name} is ready`, {body: session.node ? `Running on ${session.node}` : "", tag: session.id})
  } catch {
    return // browsers of phones have the name but leave its use to service workers
  }
  note.onclick = () => {
    window.focus()
    app.go(`/sessions?session=${session.id}`)
    note.close()
  }
}

export const mayAsk = () => typeof Notification !== "undefined" && Notification.permission === "default"

/** Only after a click: browsers refuse otherwise, and rightly. */
export async function askPermission(app) {
  const answer = await Notification.requestPermission()
  app.toast(answer === "granted" ? "You will be notified when a session is ready." : "Notifications stay off. Your browser's site settings can change that.")
}
