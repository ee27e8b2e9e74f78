// Curves in the browser: what the server packed becomes arrays on a regular grid, which later answers are added to.

/** One line: values[i] is at t0 + i × step; NaN where nothing was measured. */
export function unpack([node, device, t0, step, scale, means, lows, highs]) {
  const read = (list) => {
    if (!list) return null
    const out = new Float64Array(list.length)
    for (let i = 0; i < list.length; i += 1) out[i] = list[i] === null ? NaN : list[i] * scale
    return out
  }
  const line = {node, device, key: `${node}|${device}`, t0, step, means: read(means), lows: read(lows), highs: read(highs)}
  line.top = peak(line.highs || line.means)
  return line
}

function peak(values) {
  let top = 0
  for (const value of values) if (value > top) top = value
  return top
}

/** The same line with what came later; null where the grids don't fit and all has to be asked for again. */
export function extended(line, more) {
  if (more.step !== line.step) return null
  const shift = Math.round((more.t0 - line.t0) / line.step)
  if (shift < 0) return null
  const length = Math.max(line.means.length, shift + more.means.length)
  const put = (old, fresh) => {
    const out = new Float64Array(length).fill(NaN)
    out.set(old)
    out.set(fresh, shift)
    return out
  }
  const band = line.lows || more.lows
  const made = {
    ...line,
    means: put(line.means, more.means),
    lows: band ? put(line.lows || line.means, more.lows || more.means) : null,
    highs: band ? put(line.highs || line.means, more.highs || more.means) : null,
  }
  made.top = Math.max(line.top, more.top)
  return made
}

/** The value at a time, NaN where there is none within a step of it. */
export function at(line, t) {
  const i = Math.floor((t - line.t0) / line.step + 1e-6)
  if (!(i >= 0 && i < line.means.length)) return NaN
  // One empty point between two is a sample that came a moment late, as the drawn line has it.
  if (Number.isNaN(line.means[i]) && !Number.isNaN(line.means[i + 1] ?? NaN)) return line.means[i - 1] ?? NaN
  return line.means[i]
}

/** Mean, least and greatest of a line within [from, to]; null where nothing was measured. */
export function summary(line, from, to) {
  let [sum, count, low, high] = [0, 0, Infinity, -Infinity]
  for (let i = 0; i < line.means.length; i += 1) {
    const t = line.t0 + i * line.step
    if (t < from - line.step || t > to || Number.isNaN(line.means[i])) continue
    sum += line.means[i]
    count += 1
    low = Math.min(low, (line.lows || line.means)[i])
    high = Math.max(high, (line.highs || line.means)[i])
  }
  return count ? {mean: sum / count, low, high, count} : null
}

/** The mean of many lines, with the least and greatest of them as its band. */
export function together(lines) {
  if (lines.length < 2) return lines[0] || null
  const step = Math.max(...lines.map((line) => line.step))
  const t0 = Math.min(...lines.map((line) => line.t0))
  const end = Math.max(...lines.map((line) => line.t0 + line.means.length * line.step))
  const size = Math.max(1, Math.round((end - t0) / step))
  const [means, lows, highs] = [0, 1, 2].map(() => new Float64Array(size).fill(NaN))
  for (let i = 0; i < size; i += 1) {
    let [sum, count, low, high] = [0, 0, Infinity, -Infinity]
    for (const line of lines) {
      const value = at(line, t0 + i * step)
      if (Number.isNaN(value)) continue
      sum += value
      count += 1
      if (value < low) low = value
      if (value > high) high = value
    }
    if (!count) continue
    means[i] = sum / count
    lows[i] = low
    highs[i] = high
  }
  return {node: "", device: "", key: "all", t0, step, means, lows, highs, top: Math.max(...lines.map((line) => line.top))}
}

const STEPS = [1, 2, 2.5, 5, 10]

/** The top of an axis for values up to `top`, and the marks on it: round numbers, three to five of them. */
export function axis(top, unit) {
  if (unit === "percent") return {top: 100, marks: [0, 25, 50, 75, 100]}
  if (!(top > 0)) return {top: 1, marks: [0, 1]}
  // Bytes are read in powers of 1024.
  const base = unit.startsWith("bytes") ? 1024 ** Math.max(0, Math.floor(Math.log(top) / Math.log(1024))) : 1
  const inside = top / base
  const power = 10 ** Math.floor(Math.log10(inside / 3))
  const whole = ["count", "cores"].includes(unit) && inside > 2 // no half cores where there are several
  const step = STEPS.map((each) => each * power).find((each) => inside / each <= 4 && (!whole || Number.isInteger(each))) || inside
  const marks = []
  for (let mark = 0; mark < inside * 1.0001 + step * 0.999; mark += step) marks.push(mark * base)
  return {top: marks[marks.length - 1], marks}
}

const BYTES = ["B", "KB", "MB", "GB", "TB", "PB"]

/** A value with its unit, three digits: 38.2 GB, 97 %, 4.1 cores, 310 W. */
export function amount(value, unit) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–"
  if (unit === "bytes" || unit === "bytes/s") {
    let [rest, place] = [value, 0]
    while (rest >= 1000 && place < BYTES.length - 1) { rest /= 1024; place += 1 }
    return `${digits(rest)} ${BYTES[place]}${unit === "bytes/s" ? "/s" : ""}`
  }
  if (unit === "share") return `${digits(value * 100)} %`
  if (unit === "percent") return `${digits(value)} %`
  if (unit === "count") return digits(value)
  if (unit === "cores") return `${digits(value)} ${value === 1 ? "core" : "cores"}`
  return `${digits(value)} ${unit}`
}

function digits(value) {
  const size = Math.abs(value)
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en-GB")
  if (size >= 10) return trimmed(value.toFixed(1))
  return size >= 0.01 || size === 0 ? trimmed(value.toFixed(2)) : trimmed(value.toPrecision(2))
}

const trimmed = (text) => (text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : text)

/** Round marks of a stretch of time, about `wanted` of them, as [seconds, …] in local clock steps. */
export function timeMarks(from, to, wanted, offset = 0) {
  const span = to - from
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000]
  const step = steps.find((each) => span / each <= wanted) || steps[steps.length - 1]
  const marks = []
  for (let t = Math.ceil((from + offset) / step) * step - offset; t <= to; t += step) marks.push(t)
  return {step, marks}
}
