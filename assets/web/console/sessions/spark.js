// A line as small as a word: how busy something was over a session's life, and now.
import {h} from "../dom.js"
import {now, span, when} from "../format.js"

const WIDTH = 96
const HEIGHT = 22
const EDGE = 1.5 // so that a full line is not cut in half
// What is sent every half a minute is never this old; where samples are further apart, as old as a few of them.
const OLD_S = 60
const OLD_SAMPLES = 3

/** The path of points from 0 to 100; a stretch without samples is a gap, a lone point a dash. */
export function path(points, width = WIDTH, height = HEIGHT) {
  const step = points.length > 1 ? (width - 2 * EDGE) / (points.length - 1) : 0
  let text = ""
  points.forEach((value, index) => {
    if (value === null) return
    const x = (EDGE + index * step).toFixed(1)
    const y = (height - EDGE - (value / 100) * (height - 2 * EDGE)).toFixed(1)
    const joined = index > 0 && points[index - 1] !== null
    const alone = !joined && (points[index + 1] ?? null) === null
    text += joined ? `L${x} ${y}` : alone ? `M${(x - 1).toFixed(1)} ${y}h2` : `M${x} ${y}`
  })
  return text
}

/** The newest value, or undefined where nothing was measured. */
const newest = (points) => points.findLast((point) => point !== null)

function one(label, points, line, old) {
  const last = newest(points)
  if (last === undefined) return null
  const known = points.filter((point) => point !== null)
  const mean = Math.round(known.reduce((sum, point) => sum + point, 0) / known.length)
  const over = `${mean} % on average over ${span(line.last_s - line.since_s)}`
  return h("div", {class: "spark", key: label, role: "img", "aria-label": `${label}: ${old ? "" : `${last} % now, `}${over}`, title: `${label}: ${over}`},
    h("span", {class: "spark-label", "aria-hidden": "true"}, label),
    h("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true", width: WIDTH, height: HEIGHT},
      h("line", {x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5, class: "spark-base"}),
      h("path", {d: path(points), class: "spark-line"})),
    h("span", {class: "spark-value num", "aria-hidden": "true"}, old ? "–" : `${last} %`))
}

/** What a running session's GPUs and CPUs do; since when nothing newer is known, where it isn't. */
export function sparks(app, session) {
  const topic = app.topic("sparks")
  if (!topic || !["starting", "ready", "stopping"].includes(session.state)) return null
  const line = topic.sessions[session.id]
  const late = !!line && now() - line.last_s > Math.max(OLD_S, OLD_SAMPLES * line.every_s)
  const old = late || !!topic.away
  const since = late ? line.last_s : topic.away_since_s
  const lines = line ? [one("GPU", line.gpu, line, old), one("CPU", line.cpu, line, old)].filter(Boolean) : []
  if (!lines.length && !old) return null
  return h("div", {class: "sparks" + (old ? " old" : ""), key: "sparks"}, lines,
    old ? h("p", {class: "spark-away", key: "away", title: topic.away || undefined}, since ? `Not measured since ${when(since)}` : "Not measured now") : null)
}
