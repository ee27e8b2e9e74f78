// What the charts of one page share: the stretch of time that is seen, the crosshair, which lines are hidden, and the
// look. Charts come and go as groups are opened; moving the crosshair draws nothing but their upper canvases.
import {look} from "./names.js"

export class Board {
  /** `onzoom(window or null)`: somebody drew a stretch, or wants the whole again. */
  constructor(app, onzoom) {
    this.app = app
    this.onzoom = onzoom
    this.charts = new Set()
    this.hidden = new Set() // keys of lines
    this.window = {from: 0, to: 1}
    this.zoomed = false
    this.at = null
    this.version = 0 // of the data
    this.offset = 0 // of the site's zone, in seconds, so that marks stand at its full hours
    this.relative = null // where time counts from, for jobs that are compared
    this.refresh()
  }

  refresh() {
    this.look = look(this.app.theme.dark)
  }

  came(chart) { this.charts.add(chart) }
  gone(chart) { this.charts.delete(chart) }

  /** Move the crosshair of all charts; `aloud` tells readers of the screen what the chart says there. */
  point(t, chart, aloud = false) {
    if (this.at === t && t === null) return
    this.at = t
    cancelAnimationFrame(this.frame)
    this.frame = requestAnimationFrame(() => { for (const each of this.charts) each.point() })
    if (aloud && t !== null && chart) {
      const words = chart.values(t).slice(0, 4).map(([name, value]) => `${name} ${value}`).join(", ") || "not measured"
      this.app.say(`${this.clock(t)}: ${words}`)
    }
  }

  zoom(window) {
    this.onzoom(window && this.bounded(window))
  }

  /** Within what there is; not less than ten seconds. */
  bounded({from, to}) {
    const {whole} = this
    const least = Math.max(10, to - from)
    const begin = Math.max(whole.from, Math.min(from, whole.to - least))
    return {from: begin, to: Math.min(whole.to, begin + least)}
  }

  /** A mark on the time axis. */
  tick(t, step) {
    if (this.relative !== null) return ahead(t)
    const date = new Date(t * 1000)
    const options = {timeZone: this.zone}
    if (step >= 86400) return format({...options, day: "numeric", month: "short"}).format(date)
    const time = format({...options, hour: "2-digit", minute: "2-digit", ...(step < 60 ? {second: "2-digit"} : {})}).format(date)
    const day = format({...options, day: "numeric", month: "short"}).format(date)
    return time === "00:00" && this.window.to - this.window.from > 86400 / 2 ? day : time
  }

  clock(t) {
    if (this.relative !== null) return `${ahead(t)} after the start`
    return format({timeZone: this.zone, day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit"}).format(new Date(t * 1000))
  }
}

/** 45 s, 2 min, 2:30 min, 1:05 h, 1:05:20 h, 3 d 4 h: time since a start. */
function ahead(t) {
  const s = Math.round(t)
  if (s >= 2 * 86400) return `${Math.floor(s / 86400)} d${s % 86400 ? ` ${Math.floor((s % 86400) / 3600)} h` : ""}`
  if (s < 60) return `${s} s`
  const two = (n) => String(n).padStart(2, "0")
  const rest = s % 60 ? `:${two(s % 60)}` : ""
  return s < 3600 ? `${Math.floor(s / 60)}${rest} min` : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}${rest} h`
}

const made = new Map()
function format(options) {
  const key = JSON.stringify(options)
  if (!made.has(key)) {
    let found
    try {
      found = new Intl.DateTimeFormat("en-GB", options)
    } catch {
      found = new Intl.DateTimeFormat("en-GB", {...options, timeZone: undefined})
    }
    made.set(key, found)
  }
  return made.get(key)
}

/** How far the zone is ahead of UTC at a time, in seconds. */
export function zoneOffset(zone, t) {
  try {
    const parts = Object.fromEntries(new Intl.DateTimeFormat("en-GB", {timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric"}).formatToParts(new Date(t * 1000)).map(({type, value}) => [type, Number(value)]))
    return Math.round(Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute, parts.second) / 1000 - Math.floor(t))
  } catch {
    return -new Date(t * 1000).getTimezoneOffset() * 60
  }
}
