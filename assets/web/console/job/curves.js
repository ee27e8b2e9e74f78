// What was measured: asked for by group, added to while the job runs, asked for anew and finer for a stretch that was
// drawn. `own.curves` keeps it while one is on the page.
import {extended, unpack} from "./curve.js"
import {Board, zoneOffset} from "./board.js"
import {now} from "../format.js"
import {lineName} from "./names.js"

const LIVE_MS = 10000
const POINTS = 360
const LEAST_S = 20 // what is drawn of a job that ended at once
const SETTLE_STEPS = 4 // the last points may still change: they are asked for again

export const fresh = (app, onzoom) => {
  const board = new Board(app, onzoom)
  board.zone = app.boot.zone
  return {board, groups: new Map(), asked: "", absent: "", state: null, devices: [], run: null, until: null, whole: null, picked: {}, busy: 0}
}

/** The groups that are open, by name. */
export const wanted = (own) => own.job.groups.filter((group) => (group.name in own.open ? own.open[group.name] : !group.shut)).map((group) => group.name)

const which = (own) => ({id: own.job.job_id, cluster: own.job.cluster, submit: own.job.origin_s, run: own.run || 0})

/** Ask for these groups of the stretch that is seen. */
export function ask(app, own, names, then) {
  const {curves} = own
  const zoom = own.zoom
  const key = JSON.stringify([which(own), zoom])
  if (!names.length) return
  curves.asked = key
  curves.busy += 1
  const stretch = zoom ? {since: zoom.from, until: zoom.to} : {}
  app.call("job.curves", {...which(own), groups: names, points: POINTS, ...stretch}).then((answer) => {
    curves.busy -= 1
    if (curves.asked !== key || own.curves !== curves) return
    take(app, own, JSON.parse(answer.json))
    then?.()
    app.render()
  }, (error) => {
    curves.busy -= 1
    if (curves.asked !== key || own.curves !== curves) return
    curves.error = error.message
    app.render()
  })
}

function take(app, own, answer) {
  const {curves} = own
  curves.error = ""
  Object.assign(curves, {absent: answer.absent, state: answer.state, devices: answer.devices, run: answer.run})
  const nodes = new Set(answer.devices.map(([node]) => node)).size > 1
  for (const group of answer.groups) curves.groups.set(group.name, group.charts.map((chart) => shaped(chart, nodes)))
  curves.nodes = nodes
  settle(app, own)
}

function shaped(chart, nodes) {
  const lines = chart.lines.map((packed) => {
    const line = unpack(packed)
    line.name = lineName(line.node, line.device, nodes)
    return line
  })
  return {...chart, lines, version: 1}
}

/** The stretch that is seen: what was drawn, else the run from its start to its end or now. */
export function settle(app, own) {
  const {curves} = own
  const {board} = curves
  board.refresh()
  if (curves.run) {
    const newest = newestPoint(curves)
    const [from, end] = curves.run
    board.whole = {from, to: Math.max(from + (end === null ? 60 : LEAST_S), end ?? newest ?? 0)}
    board.window = own.zoom || board.whole
    board.zoomed = !!own.zoom
    board.offset = zoneOffset(app.boot.zone, board.window.from)
  }
  board.version += 1
}

function newestPoint(curves) {
  let newest = null
  for (const charts of curves.groups.values()) {
    for (const {lines} of charts) for (const line of lines) newest = Math.max(newest ?? 0, line.t0 + line.means.length * line.step)
  }
  return newest
}

/** Every ten seconds while it runs: only what is new, added to what is there. */
export function follow(app, own) {
  stop(own)
  own.timer = setInterval(() => {
    if (document.hidden || !own.job?.running || own.zoom || own.curves.busy || !app.ui.online) return
    more(app, own)
  }, LIVE_MS)
}

export function stop(own) {
  clearInterval(own.timer)
  own.timer = null
}

function more(app, own) {
  const {curves} = own
  const names = wanted(own).filter((name) => curves.groups.has(name))
  const steps = []
  let last = 0
  for (const name of names) {
    for (const {lines} of curves.groups.get(name)) {
      for (const line of lines) {
        steps.push(line.step)
        last = Math.max(last, line.t0 + line.means.length * line.step)
      }
    }
  }
  if (!steps.length) {
    ask(app, own, wanted(own)) // nothing was there yet
    return
  }
  const step = Math.max(...steps)
  const since = last - SETTLE_STEPS * step
  const points = Math.ceil((Math.max(now(), last) + 1 - since) / step) + 1 // so that the answer has the same step
  const key = curves.asked
  curves.busy += 1
  app.call("job.curves", {...which(own), groups: names, since, points}).then((answer) => {
    curves.busy -= 1
    if (own.curves !== curves || curves.asked !== key) return
    const found = JSON.parse(answer.json)
    Object.assign(curves, {state: found.state, devices: found.devices})
    const fits = found.groups.every((group) => add(curves, group))
    // The stretch has outgrown its step: the whole, in coarser points.
    if (!fits || own.job.running && span(curves) / step > POINTS * 1.5) ask(app, own, names)
    else settle(app, own)
    app.render()
  }, () => { curves.busy -= 1 })
}

const span = (curves) => (curves.board.whole ? curves.board.whole.to - curves.board.whole.from : 0)

function add(curves, group) {
  const charts = curves.groups.get(group.name)
  for (const chart of group.charts) {
    const known = charts.find((each) => each.metric === chart.metric)
    if (!known) return false
    for (const packed of chart.lines) {
      const line = unpack(packed)
      const place = known.lines.findIndex((each) => each.key === line.key)
      if (place < 0) return false
      const made = extended(known.lines[place], line)
      if (!made) return false
      known.lines[place] = made
    }
    if (chart.limits.length) known.limits = chart.limits
    known.version += 1
  }
  return true
}
