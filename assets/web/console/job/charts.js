// The charts of a job by group: heading with the figures in words, the curve, its twin as a table, a picture to keep.
import {h} from "../dom.js"
import {icon} from "../icons.js"
import {empty, notice, skeleton} from "../ui.js"
import {clock, now, when} from "../format.js"
import {amount, at, summary, together} from "./curve.js"
import {HeatMap, mapHeight, mapTop} from "./heatmap.js"
import {LineChart} from "./linechart.js"
import {strokeOf} from "./names.js"
import {savePicture} from "./picture.js"

const HEAT_FROM = 17
const TABLE_ROWS = 48
const MOST_COLUMNS = 16
const LATE_S = 120
const LOOKS_S = 35 // two looks, and the way here

/** All groups. `source`: {curves, groups (name, title, shut), open, onopen, tables, title, resetZoom, link}. */
export function chartGroups(app, source) {
  const {curves} = source
  if (curves.error) return h("section", {class: "block", key: "curves", "aria-label": "Measured"}, empty("The curves can’t be shown", curves.error, source.again ? h("button", {type: "button", class: "button", onclick: source.again}, icon("again"), "Try again") : null))
  if (curves.absent) return h("section", {class: "block", key: "curves", "aria-label": "Measured"}, empty(source.waits ? "Nothing measured yet" : "Nothing was measured", curves.absent))
  return [late(curves), zoomed(app, source), source.groups.map((group) => section(app, source, group))]
}

/** What is wrong with what is shown: of a job that runs, that nothing is added; of one that ended, what may be missing. */
function late(curves) {
  const {state, running} = curves
  if (!state || (!state.error && !(running && state.as_of_s && now() - state.as_of_s > LATE_S))) return null
  const since = state.since_s ? ` since ${when(state.since_s)}` : ""
  return h("div", {key: "late"}, notice("wait", !state.error ? `The newest of what was measured is from ${clock(state.as_of_s)}.`
    : running ? `Nothing new is coming in${since}: ${state.error}`
      : `Some of what was measured may be missing here: not all of it can be loaded${since}. ${state.error}`))
}

function zoomed(app, source) {
  const {board} = source.curves
  if (!board.zoomed) return null
  return h("div", {class: "zoomed", key: "zoomed", role: "status"},
    h("span", {class: "num"}, board.relative === null ? `${when(board.window.from)} – ${clock(board.window.to)}` : `${board.tick(board.window.from)} – ${board.tick(board.window.to)}`),
    h("button", {type: "button", class: "button", onclick: source.resetZoom}, icon("again"), "Whole time"))
}

function section(app, source, group) {
  const {curves} = source
  const open = group.name in source.open ? source.open[group.name] : !group.shut
  const charts = curves.groups.get(group.name)
  if (charts && !charts.length && (open || source.opened?.has(group.name)) === false) return null
  if (charts && !charts.length && !group.shut) return missing(source, group)
  return h("section", {class: "block curves", key: `group-${group.name}`, "aria-label": group.title},
    h("div", {class: "block-head"},
      h("h2", {}, h("button", {type: "button", class: "disclosure", "aria-expanded": String(open), onclick: () => source.onopen(group.name, !open)}, icon(open ? "down" : "right"), group.title)),
      open && charts ? legend(app, source, charts) : null),
    open ? !charts ? skeleton(6) : !charts.length ? h("p", {class: "hint"}, "Nothing of this was measured for this job.") : h("div", {class: "curve-grid"}, charts.map((chart) => figure(app, source, group, chart))) : null)
}

/** A group that should be there and isn't: of a job with GPUs that nobody measured. */
function missing(source, group) {
  if (group.name !== "gpu" || !source.gpus) return null
  const [from, end] = source.curves.run || [0, 0]
  return h("section", {class: "block", key: `group-${group.name}`, "aria-label": group.title},
    h("div", {class: "block-head"}, h("h2", {}, group.title)),
    h("p", {class: "hint"}, (end ?? now()) - from < LOOKS_S ? "GPUs are measured from the second look at a job on, half a minute after its start." : "Its GPUs were not measured: the agent on its nodes found no NVIDIA driver it could ask, or saw none of these GPUs."))
}

/** The lines by name; a click hides or shows one in all charts of the group. */
function legend(app, source, charts) {
  const {board} = source.curves
  const most = charts.reduce((best, chart) => (chart.lines.length > best.lines.length ? chart : best), charts[0])
  if (!most || most.lines.length < 2 || most.lines.length >= HEAT_FROM) return null
  return h("ul", {class: "chart-legend curve-legend", "aria-label": "Lines"}, most.lines.map((line) => {
    const {colour, dash} = strokeOf(board.look, most, line)
    const shown = !board.hidden.has(line.key)
    return h("li", {key: line.key}, h("button", {type: "button", class: "chart-key", "aria-pressed": String(shown), title: shown ? `Hide ${line.name}` : `Show ${line.name}`,
      onclick: (event) => {
        if (event.shiftKey) board.hidden = new Set(most.lines.filter((each) => each.key !== line.key).map((each) => each.key))
        else if (shown) board.hidden.add(line.key)
        else board.hidden.delete(line.key)
        board.version += 1
        app.render()
      }}, h("i", {class: "chart-swatch" + (dash.length ? " dashed" : ""), style: {"--colour": colour}}), h("span", {class: shown ? "" : "off"}, line.name)))
  }))
}

function figure(app, source, group, chart) {
  const {curves} = source
  const id = `${group.name}-${chart.metric}`
  const map = chart.lines.length >= HEAT_FROM
  const picked = map ? chart.lines.find((line) => line.key === curves.picked[group.name]) : null
  const stages = (source.stages ??= new Map())
  const stage = (name, make) => { if (!stages.has(name)) stages.set(name, make()); return stages.get(name) }
  const words = spoken(chart, curves.board.window)
  const shown = !map ? chart : {...chart, lines: [picked || named(together(chart.lines))], version: `${chart.version}-${picked?.key}`}
  const table = source.tables.has(id)
  const pick = (key) => { curves.picked[group.name] = curves.picked[group.name] === key ? undefined : key; app.render() }
  return h("figure", {class: "curve", key: id},
    h("figcaption", {class: "curve-head"},
      h("h3", {}, chart.title),
      h("span", {class: "curve-words num"}, words),
      h("span", {class: "curve-tools"},
        h("button", {type: "button", class: "button quiet square small", "aria-pressed": String(table), title: "As a table", "aria-label": `${chart.title} as a table`,
          onclick: () => { if (table) source.tables.delete(id); else source.tables.add(id); app.render() }}, icon("table")),
        h("button", {type: "button", class: "button quiet square small", title: "Save as a picture (PNG)", "aria-label": `${chart.title} as a picture`,
          onclick: () => savePicture(app, {board: curves.board, chart, canvas: stages.get(map ? `${id}-map` : id)?.base, title: source.title, words})}, icon("save")))),
    map ? h("div", {class: "curve-stage map", key: "map", role: "img", "aria-label": `${chart.title}, a row for each of ${chart.lines.length} devices: ${words}`, style: {height: `${mapHeight(chart.lines.length)}px`},
      ref: (el) => stage(`${id}-map`, () => new HeatMap(curves.board, (line) => pick(line.key))).on(el, {...chart, picked: picked?.key})}) : null,
    map ? h("label", {class: "curve-pick"}, h("span", {}, "Line: "), h("select", {value: picked?.key || "", onchange: (event) => { curves.picked[group.name] = event.target.value || undefined; app.render() }},
      h("option", {value: ""}, `mean of ${chart.lines.length}, with least and greatest`), chart.lines.map((line) => h("option", {key: line.key, value: line.key}, line.name))), scale(chart, curves.board.look)) : null,
    h("div", {class: "curve-stage", key: "stage", role: "img", tabindex: "0", "aria-label": `${chart.title} over time: ${words} Arrow keys read values, plus and minus zoom.`,
      ref: (el) => stage(id, () => new LineChart(curves.board)).on(el, shown)}),
    table ? twin(chart, curves.board) : null)
}

/** What the shades of a map stand for. */
const scale = (chart, look) => h("span", {class: "map-scale num", "aria-hidden": "true"}, amount(0, chart.unit), look.scale.map((colour) => h("i", {key: colour, style: {background: colour}})), amount(mapTop(chart), chart.unit))

const named = (line) => ({...line, name: "mean"})

/** The chart in a sentence: mean, least and greatest in what is seen, and what there was. */
export function spoken(chart, window) {
  const parts = chart.lines.map((line) => summary(line, window.from, window.to)).filter(Boolean)
  if (!parts.length) return "not measured in this stretch."
  const count = parts.reduce((sum, part) => sum + part.count, 0)
  const mean = parts.reduce((sum, part) => sum + part.mean * part.count, 0) / count
  const high = Math.max(...parts.map((part) => part.high))
  const limit = chart.limits.length && chart.unit !== "percent" ? `, of ${chart.limits.map((value) => amount(value, chart.unit)).join(" / ")}` : ""
  return chart.highest ? `${amount(high, chart.unit)} at most${limit}.` : `${amount(mean, chart.unit)} on average, ${amount(high, chart.unit)} at most${limit}.`
}

/** The same as a table: a row for each of at most 48 stretches, a column a line. */
function twin(chart, board) {
  const {from, to} = board.window
  const lines = chart.lines.slice(0, MOST_COLUMNS)
  const finest = Math.max(...lines.map((line) => line.step))
  const step = Math.max(finest, Math.ceil((to - from) / TABLE_ROWS / finest) * finest)
  const times = []
  for (let t = Math.floor(from / step) * step; t < to; t += step) times.push(t)
  const cell = (line, t) => {
    const part = step === finest ? at(line, t) : summary(line, t, t + step - line.step)?.mean
    return amount(part ?? NaN, chart.unit)
  }
  return h("div", {class: "table-wrap tall-twin", tabindex: "0", role: "region", "aria-label": `${chart.title} as a table`, key: "twin"},
    h("table", {class: "table figures"},
      h("thead", {}, h("tr", {}, h("th", {scope: "col"}, "From"), lines.map((line) => h("th", {scope: "col", class: "right", key: line.key}, line.name)))),
      h("tbody", {}, times.map((t) => h("tr", {key: `${t}`}, h("th", {scope: "row", class: "num"}, board.clock(t)), lines.map((line) => h("td", {class: "num right", key: line.key}, cell(line, t))))))),
    chart.lines.length > lines.length ? h("p", {class: "hint"}, `The first ${lines.length} of ${chart.lines.length}; the CSV has all.`) : null)
}
