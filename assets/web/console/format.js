// How facts are written: durations, clock times, sizes, counts. Times come in Unix seconds.

let skew = 0 // server clock minus this browser's, in seconds
let zone // the site's time zone

export function setClock(serverNow, timeZone) {
  skew = serverNow - Date.now() / 1000
  zone = timeZone || undefined
}
export const now = () => Date.now() / 1000 + skew

const cache = new Map()
function formatter(options) {
  const key = JSON.stringify(options)
  if (!cache.has(key)) {
    let made
    try {
      made = new Intl.DateTimeFormat("en-GB", {...options, timeZone: zone})
    } catch {
      made = new Intl.DateTimeFormat("en-GB", options)
    }
    cache.set(key, made)
  }
  return cache.get(key)
}

/** 14:03, or Tue 14:03 / 3 Dec 14:03 when it is not today. */
export function when(s) {
  if (s === null || s === undefined) return "–"
  const date = new Date(s * 1000)
  const day = formatter({day: "numeric", month: "numeric", year: "numeric"})
  const time = formatter({hour: "2-digit", minute: "2-digit"}).format(date)
  if (day.format(date) === day.format(new Date(now() * 1000))) return time
  const far = Math.abs(s - now()) > 6 * 86400
  const options = far ? {day: "numeric", month: "short"} : {weekday: "short"}
  if (far && Math.abs(s - now()) > 300 * 86400) options.year = "numeric"
  return `${formatter(options).format(date)} ${time}`
}
export const clock = (s) => formatter({hour: "2-digit", minute: "2-digit", second: "2-digit"}).format(new Date(s * 1000))
export const full = (s) =>
  s === null || s === undefined
    ? "–"
    : formatter({
        weekday: "short", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit",
      }).format(new Date(s * 1000))

/** 45 s, 12 min, 3 h 20 min, 2 d 4 h. */
export function span(s) {
  if (s === null || s === undefined) return "no limit"
  const whole = Math.max(0, Math.round(s))
  if (whole < 60) return `${whole} s`
  const minutes = Math.round(whole / 60)
  if (minutes < 60) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`
  const days = Math.floor(hours / 24)
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`
}

/** 3:20:05 – for what ticks. */
export function ticking(s) {
  const whole = Math.max(0, Math.floor(s))
  const [hours, minutes, seconds] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const two = (n) => String(n).padStart(2, "0")
  return hours ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`
}

export const ago = (s) => (s === null || s === undefined ? "–" : `${span(now() - s)} ago`)

/** "in 12 min" for what is ahead, "any moment" when due. */
export function ahead(s) {
  const left = s - now()
  return left < 30 ? "any moment" : `in ${span(left)}`
}

/** Memory in MB (2**20 bytes) as GB or TB, short. */
export function memory(mb) {
  if (mb === null || mb === undefined) return "–"
  if (mb < 1024) return `${mb} MB`
  const gb = mb / 1024
  if (gb < 1000) return `${gb >= 100 || Number.isInteger(gb) ? Math.round(gb) : gb.toFixed(1)} GB`
  const tb = gb / 1024
  return `${tb >= 100 ? Math.round(tb) : tb.toFixed(1)} TB`
}

/** A size on disk in bytes: 12 KB, 340 MB, 1.2 GB. */
export const onDisk = (bytes) => (bytes === null || bytes === undefined ? "–" : bytes < 1048576 ? `${Math.round(bytes / 1024)} KB` : memory(Math.round(bytes / 1048576)))

const grouped = new Intl.NumberFormat("en-GB")
export const count = (n) => (n === null || n === undefined ? "–" : grouped.format(n))
export const many = (n, one, more) => `${count(n)} ${n === 1 ? one : more || one + "s"}`
export const percent = (part, whole) => (whole ? Math.round((100 * part) / whole) : 0)

/** a100 → A100, nvidia_h100_80gb → NVIDIA H100 80GB */
export function model(type) {
  if (!type) return "GPU"
  return type
    .split(/[_\s]+/)
    .map((word) => (/\d/.test(word) || ["nvidia", "amd", "mi", "gh"].includes(word.toLowerCase())
      ? word.toUpperCase()
      : word.charAt(0).toUpperCase() + word.slice(1)))
    .join(" ")
}

/** Of a type that stands for several, as a100=12,h100=8: A100 + H100. */
export const models = (type) => type.split(",").map((kind) => model(kind.split("=")[0])).join(" + ")

/** 2 × A100; of several models 12 × A100 + 8 × H100 (`a100=12,h100=8`), or 20 × A100 / H100 where their numbers are not known. */
export function gpuWords({gpus, gpu_type}) {
  if (!gpus) return ""
  const kinds = (gpu_type || "").split(",").map((kind) => kind.split("="))
  if (kinds.length > 1 && kinds.every(([, number]) => number)) return kinds.map(([name, number]) => `${number} × ${model(name)}`).join(" + ")
  return `${gpus} × ${kinds.map(([name]) => model(name)).join(" / ")}`
}

/** Words a person may type for a time: 4h, 90m, 1d 2h, 2:30:00, 1-12:00:00 → seconds, or null. */
export function parseSpan(text) {
  const plain = text.trim().toLowerCase()
  const slurm = /^(?:(\d+)-)?(\d+):(\d{2})(?::(\d{2}))?$/.exec(plain)
  if (slurm) {
    const [, days, first, second, third] = slurm
    // Slurm reads 2:30 as minutes:seconds; people mean hours:minutes, and the form shows what was understood.
    return (Number(days || 0) * 24 + Number(first)) * 3600 + Number(second) * 60 + Number(third || 0)
  }
  let total = 0
  let rest = plain
  const units = {d: 86400, h: 3600, m: 60, min: 60, s: 1}
  while (rest) {
    const part = /^\s*(\d+(?:\.\d+)?)\s*(d|h|min|m|s)[a-z]*\s*/.exec(rest)
    if (!part) return null
    total += Number(part[1]) * units[part[2]]
    rest = rest.slice(part[0].length)
  }
  return total > 0 ? Math.round(total) : null
}

// State → [css class, glyph, word]. Colour is never alone.
export const SESSION_STATES = {
  submitting: ["wait", "◌", "Submitting"],
  pending: ["wait", "◷", "Waiting"],
  starting: ["busy", "◐", "Starting"],
  ready: ["good", "✓", "Ready"],
  stopping: ["busy", "◑", "Stopping"],
  ended: ["over", "■", "Ended"],
  failed: ["bad", "✕", "Failed"],
}
export const JOB_STATES = {
  PENDING: ["wait", "◷", "Pending"],
  RUNNING: ["good", "▶", "Running"],
  SUSPENDED: ["wait", "‖", "Suspended"],
  COMPLETED: ["over", "✓", "Completed"],
  CANCELLED: ["over", "⊘", "Cancelled"],
  FAILED: ["bad", "✕", "Failed"],
  TIMEOUT: ["bad", "◕", "Time limit"],
  NODE_FAIL: ["bad", "✕", "Node failed"],
  PREEMPTED: ["over", "⇥", "Preempted"],
  BOOT_FAIL: ["bad", "✕", "Boot failed"],
  DEADLINE: ["bad", "◕", "Deadline"],
  OUT_OF_MEMORY: ["bad", "✕", "Out of memory"],
}
// A node's look follows what it means for people: can it take work?
export const NODE_LOOKS = {
  free: ["free", "○", "Free"],
  mixed: ["part", "◐", "Partly used"],
  full: ["full", "●", "Fully used"],
  reserved: ["held", "◇", "Reserved"],
  planned: ["free", "◌", "Planned for a job"],
  draining: ["off", "▼", "Draining"],
  drained: ["off", "▽", "Drained"],
  maintenance: ["held", "⚒", "Maintenance"],
  asleep: ["off", "☾", "Powered down"],
  down: ["bad", "✕", "Down"],
  unknown: ["off", "?", "Unknown"],
}
