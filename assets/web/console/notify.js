// What a person is told when a session of theirs changes: spoken, and as the browser's own notification when they
// asked for it.
import {SESSION_STATES} from "./format.js"

const seen = new Map()
let primed = false

export function announceChanges(app) {
  const mine = app.topic("mine")
  if (!mine) return
  for (const session of Object.values(mine.sessions)) {
    const before = seen.get(session.id)
    seen.set(session.id, session.state)
    if (!primed || before === session.state) continue
    if (before === undefined && !session.live) continue
    const word = SESSION_STATES[session.state]?.[2] || session.state
    app.say(`${session.name}: ${word}`)
    if (session.state === "ready" && before !== undefined) tell(app, session)
  }
  primed = true
}

function tell(app, session) {
  if (typeof Notification === "undefined" || Notification.permission !== "granted" || !document.hidden) return
  const note = new Notification(`${session.name} is ready`, {body: session.node ? `Running on ${session.node}` : "", tag: session.id})
  note.onclick = () => {
    window.focus()
    app.go("/sessions")
    note.close()
  }
}

export const mayAsk = () => typeof Notification !== "undefined" && Notification.permission === "default"

/** Only after a click: browsers refuse otherwise, and rightly. */
export async function askPermission(app) {
  const answer = await Notification.requestPermission()
  app.toast(answer === "granted" ? "You will be notified when a session is ready." : "Notifications stay off. Your browser's site settings can change that.")
}
