// The frame's page: asks for the figures, draws them, tells its height to the page around it.

const WIDTHS = [360, 560, 900, 1300]
const AGAIN_S = 300 // while somebody looks; an unchanged figure costs a line

const sites = JSON.parse(document.body.dataset.sites)
const address = document.body.dataset.figures
const main = document.getElementById("embed")
const system = matchMedia("(prefers-color-scheme: dark)")
let shown = "" // what is drawn now: the answer's tag and the look
let asking = 0

// ---- height: told to the site that greeted us, if it is one of ours

let told = null
addEventListener("message", (event) => {
  if (event.source !== parent || !sites.includes(event.origin)) return
  if (event.data && event.data.carme === "hello") {
    told = event.origin
    tell()
  }
})
function tell() {
  if (told === null || parent === window) return
  const height = Math.ceil(main.getBoundingClientRect().height)
  parent.postMessage({carme: "height", height}, told)
}
new ResizeObserver(tell).observe(main)

// ---- look

function theme() {
  const wanted = document.documentElement.dataset.theme
  if (wanted === "dark" || wanted === "light") return wanted
  return system.matches ? "dark" : "light"
}
function width() {
  const there = main.clientWidth || innerWidth
  return [...WIDTHS].reverse().find((each) => each <= there) || WIDTHS[0]
}

// ---- figures

async function load() {
  const look = `theme=${theme()}&width=${width()}`
  const turn = ++asking
  let answer
  try {
    answer = await fetch(`${address}?${look}`, {credentials: "omit", cache: "no-cache", referrerPolicy: "no-referrer"})
  } catch {
    return say("The console can't be reached.")
  }
  if (turn !== asking) return
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}))
    return gone(problem.title || "The figures can't be shown at the moment.")
  }
  const mark = `${answer.headers.get("ETag")} ${look}`
  if (mark === shown) return
  const figures = await answer.json()
  if (turn !== asking) return
  shown = mark
  await draw(figures)
}

function say(words) {
  const state = document.getElementById("state")
  if (!state) return
  state.textContent = words
  state.hidden = !words
}
function gone(words) {
  shown = ""
  main.replaceChildren(node("p", {class: "gone", role: "status"}, words))
}

let drawn = null // the views of the chart that stands here

/** Bokeh keeps every document it has drawn until it is told. */
function drop(views) {
  if (!views) return
  const {document} = views.roots[0].model
  views.clear()
  document.clear()
  const at = Bokeh.documents.indexOf(document)
  if (at >= 0) Bokeh.documents.splice(at, 1)
}

async function draw(figures) {
  const unfolded = new Set([...main.querySelectorAll("details[open] > summary")].map((each) => each.textContent))
  const parts = [node("h1", {}, figures.title)]
  parts.push(node("p", {class: "quiet"}, `${figures.asked} · ${figures.window}`))
  const sums = figures.totals.map((each) => [node("dt", {}, each.name), node("dd", {}, each.text)])
  parts.push(node("dl", {class: "totals"}, ...sums.map((pair) => node("div", {}, ...pair))))
  parts.push(node("p", {class: "quiet", role: "status", id: "state", hidden: ""}, ""))
  const table = tableOf(figures.table)
  let place = null
  if (figures.chart) {
    place = node("div", {class: "chart", role: "img", "aria-label": figures.chart.name})
    place.style.height = `${figures.chart.height}px`
    parts.push(node("figure", {}, legend(figures.chart.legend), place))
    parts.push(node("details", {}, node("summary", {}, "The figures as a table"), table))
  } else {
    parts.push(table)
  }
  const notes = [...(figures.chart ? figures.chart.notes : []), ...figures.notes]
  if (notes.length) parts.push(node("ul", {class: "notes"}, ...notes.map((note) => node("li", {}, note))))
  if (figures.methods.length) {
    const said = figures.methods.flatMap((each) => [node("dt", {}, each.name), node("dd", {}, each.note)])
    parts.push(node("details", {}, node("summary", {}, "How it is counted"), node("dl", {}, ...said)))
  }
  parts.push(node("p", {class: "quiet"}, freshness(figures)))
  for (const each of parts) {
    if (each.localName === "details") each.open = unfolded.has(each.firstChild.textContent)
  }
  drop(drawn)
  drawn = null
  main.replaceChildren(...parts)
  if (place) {
    try {
      const views = await Bokeh.embed.embed_item(figures.chart.item, place)
      if (place.isConnected) drawn = views
      else drop(views) // another answer was faster
    } catch (error) {
      console.error(error)
      place.remove()
      say("The chart can't be drawn here; its table is below.")
    }
  }
  tell()
}

function freshness(figures) {
  if (figures.made) return `Snapshot of ${figures.made}`
  return figures.as_of ? `As of ${figures.as_of}` : "No accounts have been read yet"
}

function legend(keys) {
  const entries = keys.map((key) => {
    const dot = node("span", {class: key.dashed ? "dot dashed" : "dot"})
    dot.style.setProperty("--colour", key.colour)
    return node("li", {}, dot, key.name)
  })
  return entries.length ? node("ul", {class: "legend"}, ...entries) : node("span", {hidden: ""})
}

function tableOf(table) {
  const kind = (at) => ({class: table.heads[at][1] ? "number" : "text"})
  const head = node("tr", {}, ...table.heads.map(([title], at) => node("th", {scope: "col", ...kind(at)}, title)))
  const rows = table.rows.map((row) => node("tr", {}, ...row.map((cell, at) => node("td", kind(at), cell))))
  if (!rows.length) return node("p", {class: "quiet"}, "Nothing was used in this window.")
  const made = node("table", {}, node("thead", {}, head), node("tbody", {}, ...rows))
  return node("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "The figures as a table"}, made)
}

/** An element; children are elements or plain text, never markup. */
function node(tag, attributes, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  made.append(...children)
  return made
}

if (address) {
  let last = width()
  new ResizeObserver(() => {
    if (width() === last) return
    last = width()
    load()
  }).observe(document.body)
  system.addEventListener("change", load)
  setInterval(() => {
    if (!document.hidden) load()
  }, AGAIN_S * 1000)
  addEventListener("load", load) // after Bokeh's own script
}
