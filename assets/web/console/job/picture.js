// A chart as a PNG of its own: title, figures, curve and legend, drawn in the browser.
import {strokeOf} from "./names.js"

const HEAD = 54, ROW = 18, PAD = 12
const FONT = 'Roboto, "Segoe UI", "DejaVu Sans", sans-serif'

export function savePicture(app, {board, chart, canvas, title, words}) {
  if (!canvas) return
  const scale = globalThis.devicePixelRatio || 1
  const width = canvas.width / scale
  const keys = chart.lines.length > 1 && chart.lines.length <= 16 ? chart.lines.filter((line) => !board.hidden.has(line.key)) : []
  const columns = Math.max(1, Math.floor(width / 170))
  const height = HEAD + canvas.height / scale + Math.ceil(keys.length / columns) * ROW + PAD
  const made = document.createElement("canvas")
  made.width = Math.round((width + 2 * PAD) * scale)
  made.height = Math.round(height * scale)
  const pen = made.getContext("2d")
  pen.scale(scale, scale)
  pen.fillStyle = board.look.ground
  pen.fillRect(0, 0, width + 2 * PAD, height)
  pen.fillStyle = board.look.strong
  pen.font = `bold 14px ${FONT}`
  pen.fillText(`${chart.title} · ${title}`, PAD, 22, width)
  pen.fillStyle = board.look.ink
  pen.font = `12px ${FONT}`
  pen.fillText(words, PAD, 41, width)
  pen.drawImage(canvas, PAD, HEAD, width, canvas.height / scale)
  keys.forEach((line, index) => {
    const x = PAD + (index % columns) * 170
    const y = HEAD + canvas.height / scale + Math.floor(index / columns) * ROW + 12
    pen.fillStyle = strokeOf(board.look, chart, line).colour
    pen.fillRect(x, y - 9, 10, 10)
    pen.fillStyle = board.look.ink
    pen.fillText(line.name, x + 16, y, 150)
  })
  made.toBlob((blob) => {
    if (!blob) {
      app.toast("The browser could not make a picture of it.", "bad")
      return
    }
    const link = document.createElement("a")
    link.href = URL.createObjectURL(blob)
    link.download = `${title} ${chart.metric}.png`.replace(/[^\w.-]+/g, "-")
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 10000)
  }, "image/png")
}
