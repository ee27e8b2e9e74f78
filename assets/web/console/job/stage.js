// What every drawing over time has: a canvas with the picture, one over it for the crosshair, the way from times to
// places, and a stretch that is drawn with mouse, pen or finger.
import {timeMarks} from "./curve.js"

export const LEFT = 62, RIGHT = 10, BOTTOM = 22
export const FONT = '11px Roboto, "Segoe UI", "DejaVu Sans", sans-serif'
const DRAG_PX = 6
const FINGER_PX = 20 // a finger that only wants to read a value rolls a little

export class Stage {
  /** `board`: what the charts of a page share (board.js). */
  constructor(board) {
    this.board = board
    this.el = null
    this.chart = null
    this.drawn = ""
  }

  /** Called at each drawing of the page; el is null when the place is gone. */
  on(el, chart) {
    if (!el) {
      this.board.gone(this)
      this.size?.disconnect()
      this.el = null
      return
    }
    this.chart = chart
    if (this.el !== el) this.mount(el)
    this.board.came(this)
    this.draw()
  }

  mount(el) {
    this.el = el
    el.replaceChildren()
    this.base = document.createElement("canvas")
    this.over = document.createElement("canvas")
    this.over.className = "curve-over"
    el.append(this.base, this.over)
    this.size = new ResizeObserver(() => { this.drawn = ""; this.draw() })
    this.size.observe(el)
    el.onpointermove = (event) => this.moved(event)
  
    el.onpointerdown = (event) => this.down(event)
    el.onpointerup = (event) => this.up(event)
    el.onpointercancel = () => { this.drag = null; this.left() } // the finger scrolls the page
    el.ondblclick = () => this.board.zoom(null)
    this.drawn = ""
  }

  // -- where things are

  get width() { return this.el.clientWidth }
  get height() { return this.el.clientHeight }
  get ground() { return this.height - BOTTOM }
  x(t) { const {from, to} = this.board.window; return LEFT + ((t - from) / (to - from)) * (this.width - LEFT - RIGHT) }
  t(x) { const {from, to} = this.board.window; return from + ((x - LEFT) / (this.width - LEFT - RIGHT)) * (to - from) }
  within(x) { return x >= LEFT && x <= this.width - RIGHT }

  // -- the picture: `paint(pen)` draws it, `point()` what lies over it

  /** Draw it where anything has changed since it was drawn. */
  draw() {
    if (!this.el || !this.width) return
    const {board, chart} = this
    const {from, to} = board.window
    const sign = [board.version, chart.version, chart.picked, this.width, this.height, board.look.dark, [...board.hidden].join(), from, to].join("|")
    if (sign === this.drawn) return
    this.drawn = sign
    const pen = fitted(this.base, this.width, this.height)
    fitted(this.over, this.width, this.height)
    pen.clearRect(0, 0, this.width, this.height)
    pen.font = FONT
    pen.lineWidth = 1
    this.paint(pen)
    this.point()
  }

  times(pen) {
    const {board} = this
    const {from, to} = board.window
    const {step, marks} = timeMarks(from, to, Math.max(2, Math.floor((this.width - LEFT) / 84)), board.offset)
    pen.textBaseline = "alphabetic"
    pen.textAlign = "center"
    pen.fillStyle = board.look.ink
    for (const mark of marks) {
      const x = Math.round(this.x(mark)) + 0.5
      pen.strokeStyle = board.look.grid
      rule(pen, x, this.ground, x, this.ground + 4)
      const text = board.tick(mark, step)
      const half = pen.measureText(text).width / 2
      if (x - half >= 2 && x + half <= this.width - 1) pen.fillText(text, x, this.height - 6)
    }
  }

  /** The canvas over the picture, empty but for the stretch that is being drawn. */
  cleared() {
    const pen = this.over.getContext("2d")
    pen.clearRect(0, 0, this.width, this.height)
    if (this.drag?.far) {
      const [left, right] = this.ends()
      pen.fillStyle = this.board.look.series[0]
      pen.globalAlpha = 0.18
      pen.fillRect(left, 0, right - left, this.ground)
      pen.globalAlpha = 1
    }
    return pen
  }

  // -- the pointer

  place(event) {
    return event.clientX - this.el.getBoundingClientRect().left
  }

  /** The stretch that is drawn, as places within the axes. */
  ends() {
    const ends = [this.drag.from, this.drag.to].map((x) => Math.max(LEFT, Math.min(this.width - RIGHT, x)))
    return ends.sort((a, b) => a - b)
  }

  moved(event) {
    const x = this.place(event)
    if (this.drag) {
      this.drag.to = x
      this.drag.far = Math.abs(x - this.drag.from) >= this.drag.least
    }
    this.board.point(this.within(x) ? this.t(x) : null, this)
    if (this.drag) this.point()
  }

  left() {
    this.board.point(null)
    this.point()
  }

  down(event) {
    if (event.button !== 0 || !event.isPrimary) return
    const x = this.place(event)
    this.moved(event)
    if (x < LEFT) return
    this.drag = {from: x, to: x, least: event.pointerType === "touch" ? FINGER_PX : DRAG_PX, far: false}
    this.el.setPointerCapture(event.pointerId)
  }

  up(event) {
    const {drag} = this
    if (!drag) return
    this.moved(event)
    const [left, right] = this.ends()
    this.drag = null
    if (drag.far) this.board.zoom({from: this.t(left), to: this.t(right)})
    else this.pressed(event)
    this.point()
  }

  /** It was no stretch: a click or a tap. */
  pressed() {}
}

/** A canvas of this size in CSS pixels, sharp on every screen. */
function fitted(canvas, width, height) {
  const scale = globalThis.devicePixelRatio || 1
  const [wide, high] = [Math.round(width * scale), Math.round(height * scale)]
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide
    canvas.height = high
    canvas.style.width = `${width}px`
    canvas.style.height = `${height}px`
  }
  const pen = canvas.getContext("2d")
  pen.setTransform(scale, 0, 0, scale, 0, 0)
  return pen
}

export function rule(pen, x0, y0, x1, y1) {
  pen.beginPath()
  pen.moveTo(x0, y0)
  pen.lineTo(x1, y1)
  pen.stroke()
}
