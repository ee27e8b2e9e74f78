// A line as small as a word: how busy something was over a session's life, and now.
import {h} from "./dom.js"
import {now, span, when} from "./format.js"

const WIDTH = 96
const HEIGHT = 22
const EDGE = 1.5 // so that a full line is not cut in half
const OLD_S = 120

/** The path of points from 0 to 100; a stretch without samples is a gap, a lone point a dot. */
export function path(points, width = WIDTH, height = HEIGHT) {
  const step = points.length > 1 ? (width - 2 * EDGE) / (points.length - 1) : 0
  let text = ""
  points.forEach((value, index) => {
    if (value === null) return
    const x = (EDGE + index * step).toFixed(1)
    const y = (height - EDGE - (value / 100) * (height - 2 * EDGE)).toFixed(1)
    const joined = index > 0 && points[index - 1] !== null
    text += joined ? `L${x} ${y}` : `M${x} ${y}h.01`
  })
  return text
}

/** The newest value and until when it counts, or null where nothing was measured. */
function newest(points, line) {
  for (let index = points.length - 1; index >= 0; index -= 1) {
    if (points[index] !== null) return {value: points[index], until: line.since_s + (index + 1) * line.step_s}
  }
  return null
}

function one(label, points, line, old) {
  const last = newest(points, line)
  if (!last) return null
  const known = points.filter((point) => point !== null)
  const mean = Math.round(known.reduce((sum, point) => sum + point, 0) / known.length)
  const over = `${mean} % on average over ${span(Math.min(last.until, now()) - line.since_s)}`
  return h("div", {class: "spark", key: label, role: "img", "aria-label": `${label}: ${old ? "" : `${last.value} % now, `}${over}`, title: `${label}: ${over}`},
    h("span", {class: "spark-label", "aria-hidden": "true"}, label),
    h("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true", width: WIDTH, height: HEIGHT},
      h("line", {x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5, class: "spark-base"}),
      h("path", {d: path(points), class: "spark-line"})),
    h("span", {class: "spark-value num", "aria-hidden": "true"}, old ? "–" : `${last.value} %`))
}

/** What a running session's GPUs and CPUs do; since when nothing newer is known, where it isn't. */
export function sparks(app, session) {
  const topic = app.topic("sparks")
  if (!topic || !["starting", "ready", "stopping"].includes(session.state)) return null
  const line = topic.sessions[session.id]
  const until = line ? Math.max(0, ...[line.gpu, line.cpu].map((points) => newest(points, line)?.until || 0)) : 0
  const late = until > 0 && now() - until > OLD_S
  const old = late || !!topic.away
  const since = late ? until : topic.away_since_s
  const lines = line ? [one("GPU", line.gpu, line, old), one("CPU", line.cpu, line, old)].filter(Boolean) : []
  if (!lines.length && !old) return null
  return h("div", {class: "sparks" + (old ? " old" : ""), key: "sparks"}, lines,
    old ? h("p", {class: "spark-away", key: "away", title: topic.away || undefined}, since ? `Not measured since ${when(since)}` : "Not measured now") : null)
}
