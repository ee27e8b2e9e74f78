// One chart: a few lines over time on a canvas, with a band from least to greatest, thresholds, and gaps that stay
// gaps. A second canvas over it holds the crosshair, which all charts of the page share; so moving draws few pixels.
import {at, amount, axis} from "./curve.js"
import {strokeOf} from "./names.js"
import {FONT, LEFT, RIGHT, Stage, rule} from "./stage.js"

const TOP = 8
const MOST_TOLD = 8
const LIMIT_FAR = 10

export class LineChart extends Stage {
  mount(el) {
    super.mount(el)
    el.onkeydown = (event) => this.key(event)
    el.onblur = () => this.board.point(null)
  }

  y(value) { return TOP + (1 - value / this.axis.top) * (this.ground - TOP) }
  get lines() { return this.chart.lines.filter((line) => !this.board.hidden.has(line.key)) }

  // -- the picture

  paint(pen) {
    const {look} = this.board
    const {width} = this
    this.scale()
    pen.textBaseline = "middle"
    pen.textAlign = "right"
    for (const mark of this.axis.marks) {
      const y = Math.round(this.y(mark)) + 0.5
      pen.strokeStyle = look.grid
      rule(pen, LEFT, y, width - RIGHT, y)
      pen.fillStyle = look.ink
      pen.fillText(amount(mark, this.chart.unit), LEFT - 7, y)
    }
    this.times(pen)
    pen.save()
    pen.beginPath()
    pen.rect(LEFT, TOP - 2, width - LEFT - RIGHT, this.ground - TOP + 4)
    pen.clip()
    for (const value of this.limits) {
      pen.strokeStyle = look.limit
      pen.setLineDash([6, 4])
      const y = Math.round(this.y(value)) + 0.5
      rule(pen, LEFT, y, width - RIGHT, y)
      pen.setLineDash([])
    }
    const bands = this.lines.length <= 4
    if (bands) for (const line of this.lines) this.band(pen, line, strokeOf(look, this.chart, line))
    for (const line of this.lines) this.line(pen, line, strokeOf(look, this.chart, line))
    pen.restore()
  }

  /** The axis of the values, and the limits that are drawn. */
  scale() {
    const {chart} = this
    let top = Math.max(0, ...this.lines.map((line) => line.top))
    // A limit far above all that was measured would press the lines to the ground: it stands in the heading alone.
    this.limits = chart.limits.filter((value) => chart.unit === "percent" || value <= top * LIMIT_FAR)
    if (this.limits.length) top = Math.max(top, ...this.limits)
    this.axis = axis(top, chart.unit)
  }

  band(pen, line, {colour}) {
    if (!line.lows) return
    pen.fillStyle = colour
    pen.globalAlpha = 0.16
    this.stretches(line, (from, to) => {
      pen.beginPath()
      const there = measured(line, from, to)
      for (const i of there) pen.lineTo(this.x(line.t0 + (i + 0.5) * line.step), this.y(line.highs[i]))
      for (const i of there.reverse()) pen.lineTo(this.x(line.t0 + (i + 0.5) * line.step), this.y(line.lows[i]))
      pen.fill()
    })
    pen.globalAlpha = 1
  }

  line(pen, line, {colour, dash}) {
    pen.strokeStyle = colour
    pen.fillStyle = colour
    pen.lineWidth = 1.5
    pen.lineJoin = "round"
    pen.setLineDash(dash)
    this.stretches(line, (from, to) => {
      if (to - from === 1) {
        // One point between two gaps would be no line: it is a dot.
        pen.beginPath()
        pen.arc(this.x(line.t0 + (from + 0.5) * line.step), this.y(line.means[from]), 2, 0, 7)
        pen.fill()
        return
      }
      pen.beginPath()
      for (const i of measured(line, from, to)) pen.lineTo(this.x(line.t0 + (i + 0.5) * line.step), this.y(line.means[i]))
      pen.stroke()
    })
    pen.setLineDash([])
    pen.lineWidth = 1
  }

  /** Each run of measured points that may be seen, as [from, to). One empty point within it is no gap: a sample that
      came a moment late fell into the next. */
  stretches(line, each) {
    const {from, to} = this.board.window
    const first = Math.max(0, Math.floor((from - line.t0) / line.step) - 1)
    const last = Math.min(line.means.length, Math.ceil((to - line.t0) / line.step) + 1)
    let begin = -1
    for (let i = first; i <= last; i += 1) {
      const there = i < last && !Number.isNaN(line.means[i])
      if (there && begin < 0) begin = i
      if (!there && begin >= 0 && !(i + 1 < last && !Number.isNaN(line.means[i + 1]))) {
        each(begin, i)
        begin = -1
      }
    }
  }

  // -- the keys, and the crosshair

  key(event) {
    const {board} = this
    const {from, to} = board.window
    const step = (to - from) / 50
    const now = board.at ?? (from + to) / 2
    const keys = {
      ArrowLeft: () => board.point(Math.max(from, now - step), this, true),
      ArrowRight: () => board.point(Math.min(to, now + step), this, true),
      "+": () => board.zoom({from: now - (now - from) / 2, to: now + (to - now) / 2}),
      "-": () => board.zoom({from: from - (to - from) / 2, to: to + (to - from) / 2}),
      Escape: () => (this.drag ? (this.drag = null, this.point()) : board.zoomed ? board.zoom(null) : board.point(null)),
    }
    if (!keys[event.key]) return
    event.preventDefault()
    keys[event.key]()
  }

  /** The crosshair and what the lines are there. */
  point() {
    if (!this.el || !this.axis) return
    const pen = this.cleared()
    const t = this.board.at
    if (t === null) return
    const x = this.x(t)
    if (!this.within(x)) return
    pen.strokeStyle = this.board.look.edge
    rule(pen, Math.round(x) + 0.5, TOP, Math.round(x) + 0.5, this.ground)
    this.moment(pen, t, x)
    this.tell(pen, t, x)
  }

  /** The time of the crosshair, on the axis. */
  moment(pen, t, x) {
    const {look} = this.board
    const words = this.board.clock(t)
    pen.font = FONT
    const width = pen.measureText(words).width + 10
    const left = Math.max(0, Math.min(x - width / 2, this.width - width))
    pen.fillStyle = look.raised
    pen.fillRect(left, this.ground + 3, width, 16)
    pen.fillStyle = look.strong
    pen.textAlign = "left"
    pen.textBaseline = "alphabetic"
    pen.fillText(words, left + 5, this.height - 6)
  }

  /** What is said at a time: [name, words, colour] of the lines with the most. */
  values(t) {
    const {look} = this.board
    const found = this.lines
      .map((line) => ({line, value: at(line, t)}))
      .filter(({value}) => !Number.isNaN(value))
      .sort((a, b) => b.value - a.value)
    return found.map(({line, value}) => [line.name, amount(value, this.chart.unit), strokeOf(look, this.chart, line).colour, value])
  }

  tell(pen, t, x) {
    const {look} = this.board
    const all = this.values(t)
    for (const [, , colour, value] of all) {
      pen.fillStyle = colour
      pen.beginPath()
      pen.arc(x, this.y(value), 3, 0, 7)
      pen.fill()
    }
    const rows = all.slice(0, MOST_TOLD).map(([name, words, colour]) => [name, words, colour])
    if (all.length > MOST_TOLD) rows.push([`and ${all.length - MOST_TOLD} more`, "", null])
    if (!rows.length) rows.push(["not measured", "", null])
    pen.font = FONT
    const left = Math.max(...rows.map(([name]) => pen.measureText(name).width))
    const right = Math.max(...rows.map(([, words]) => pen.measureText(words).width))
    const [width, height] = [left + right + 40, rows.length * 15 + 10]
    const place = x + 12 + width > this.width ? x - 12 - width : x + 12
    const top = Math.max(0, Math.min(TOP + 4, this.height - height))
    pen.fillStyle = look.raised
    pen.strokeStyle = look.edge
    pen.globalAlpha = 0.94
    pen.beginPath()
    pen.roundRect(Math.round(place) + 0.5, Math.round(top) + 0.5, width, height, 5)
    pen.fill()
    pen.globalAlpha = 1
    pen.stroke()
    pen.textBaseline = "middle"
    rows.forEach(([name, words, colour], index) => {
      const y = top + 12 + index * 15
      if (colour) {
        pen.fillStyle = colour
        pen.fillRect(place + 8, y - 4, 8, 8)
      }
      pen.fillStyle = look.ink
      pen.textAlign = "left"
      pen.fillText(name, place + 21, y)
      pen.fillStyle = look.strong
      pen.textAlign = "right"
      pen.fillText(words, place + width - 8, y)
    })
  }
}

/** Which points of [from, to) were measured. */
function measured(line, from, to) {
  const there = []
  for (let i = from; i < to; i += 1) if (!Number.isNaN(line.means[i])) there.push(i)
  return there
}
