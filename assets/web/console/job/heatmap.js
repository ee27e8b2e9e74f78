// Many devices: a map with a row each and time along it, the darker the more. A row that is clicked becomes the chart.
import {at, amount} from "./curve.js"
import {BOTTOM, FONT, LEFT, RIGHT, Stage, rule} from "./stage.js"

const LEAST_ROW = 4, MOST_ROW = 14, WANTED_HEIGHT = 300

export const rowHeight = (rows) => Math.max(LEAST_ROW, Math.min(MOST_ROW, Math.floor(WANTED_HEIGHT / rows)))
export const mapHeight = (rows) => rowHeight(rows) * rows + BOTTOM

/** What the darkest stands for. */
export function mapTop(chart) {
  if (chart.unit === "percent") return 100
  const measured = Math.max(0, ...chart.lines.map((line) => line.top))
  return chart.limits[0] && chart.limits[0] <= measured * 4 ? chart.limits[0] : measured || 1
}

export class HeatMap extends Stage {
  constructor(board, onpick) {
    super(board)
    this.onpick = onpick
  }

  get rowHeight() { return rowHeight(this.chart.lines.length) }
  get height() { return mapHeight(this.chart.lines.length) }
  rowAt(event) { return Math.floor((event.clientY - this.el.getBoundingClientRect().top) / this.rowHeight) }

  paint(pen) {
    const {board, chart, rowHeight: row} = this
    const top = mapTop(chart)
    const {look} = board
    const {from, to} = board.window
    let node = null
    chart.lines.forEach((line, index) => {
      const y = index * row
      pen.fillStyle = look.none // a thread where nothing was measured: neither much nor little
      pen.fillRect(LEFT, y + Math.floor((row - 1) / 2), this.width - LEFT - RIGHT, 1)
      const first = Math.max(0, Math.floor((from - line.t0) / line.step))
      const last = Math.min(line.means.length, Math.ceil((to - line.t0) / line.step))
      for (let i = first; i < last; i += 1) {
        if (Number.isNaN(line.means[i])) continue
        const x0 = Math.max(LEFT, this.x(line.t0 + i * line.step))
        const x1 = Math.min(this.width - RIGHT, this.x(line.t0 + (i + 1) * line.step))
        pen.fillStyle = look.scale[Math.min(look.scale.length - 1, Math.floor((line.means[i] / top) * look.scale.length))]
        pen.fillRect(x0, y, Math.max(1, x1 - x0 + 0.4), row - 1)
      }
      if (line.node !== node) {
        node = line.node
        pen.fillStyle = look.ink
        pen.textAlign = "right"
        pen.textBaseline = "top"
        const fits = chart.lines.filter((each) => each.node === node).length * row >= 11
        if (fits) pen.fillText(short(pen, node, LEFT - 8), LEFT - 6, y)
      }
      if (line.key === chart.picked) {
        pen.strokeStyle = look.strong
        pen.strokeRect(LEFT - 0.5, y - 0.5, this.width - LEFT - RIGHT + 1, row)
      }
    })
    this.times(pen)
  }

  moved(event) {
    this.row = this.rowAt(event)
    super.moved(event)
  }

  left() {
    this.row = null
    super.left()
  }

  pressed(event) {
    const line = this.chart.lines[this.rowAt(event)]
    if (line) this.onpick(line)
  }

  values(t) {
    const line = this.chart.lines[this.row ?? 0]
    const value = line ? at(line, t) : NaN
    return line && !Number.isNaN(value) ? [[line.name, amount(value, this.chart.unit), null, value]] : []
  }

  point() {
    if (!this.el) return
    const pen = this.cleared()
    const t = this.board.at
    if (t === null) return
    const x = this.x(t)
    if (!this.within(x)) return
    const {look} = this.board
    pen.strokeStyle = look.strong
    rule(pen, Math.round(x) + 0.5, 0, Math.round(x) + 0.5, this.ground)
    const line = this.chart.lines[this.row ?? -1]
    if (!line) return
    const value = at(line, t)
    const words = `${line.name}: ${Number.isNaN(value) ? "not measured" : amount(value, this.chart.unit)}`
    pen.font = FONT
    const width = pen.measureText(words).width + 16
    const left = x + 10 + width > this.width ? x - 10 - width : x + 10
    const y = Math.min(this.ground - 20, Math.max(0, this.row * this.rowHeight - 24))
    pen.fillStyle = look.raised
    pen.strokeStyle = look.edge
    pen.beginPath()
    pen.roundRect(left, y, width, 20, 5)
    pen.fill()
    pen.stroke()
    pen.fillStyle = look.strong
    pen.textAlign = "left"
    pen.textBaseline = "middle"
    pen.fillText(words, left + 8, y + 10)
  }
}

function short(pen, text, width) {
  if (pen.measureText(text).width <= width) return text
  let cut = text
  while (cut.length > 1 && pen.measureText(`…${cut}`).width > width) cut = cut.slice(1)
  return `…${cut}` // the end of a node's name is what tells it from its neighbours
}
