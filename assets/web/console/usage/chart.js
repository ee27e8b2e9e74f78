// A chart of the usage page: BokehJS draws what the server has built, these lines swap it in without a flicker, tell
// what is under the pointer, and hand a tapped mark on. The chart's twin is a table with the same figures.
import {h} from "../dom.js"
import {empty, skeleton} from "../ui.js"

/** The place of a chart in the page. The patcher leaves what is inside alone. */
export class Stage {
  constructor(onpick) {
    this.onpick = onpick
    this.el = null
    this.item = null
    this.shown = null
    this.turn = 0
  }

  /** Called at each drawing of the page; el is null when the place is gone. */
  on(el, chart) {
    if (!el) {
      this.turn += 1
      if (this.shown) drop(this.shown)
      Object.assign(this, {el: null, item: null, shown: null})
      return
    }
    if (this.el !== el) {
      this.el = el
      this.item = null
      this.shown = null
      el.addEventListener("pointermove", (event) => this.follow(event))
      el.addEventListener("pointerleave", () => this.tell(null))
    }
    if (chart.item && this.item !== chart.item) this.draw(chart.item)
  }

  async draw(item) {
    this.item = item
    const turn = ++this.turn
    const box = document.createElement("div")
    box.className = "chart-canvas coming"
    this.el.append(box)
    const views = await globalThis.Bokeh.embed.embed_item(item, box)
    const made = {views, box, doc: views.roots[0].model.document}
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
    if (turn !== this.turn) {
      drop(made)
      return
    }
    if (this.shown) drop(this.shown)
    this.shown = made
    this.tell(null)
    box.classList.remove("coming")
    box.dataset.drawn = "yes"
    this.listen(made.doc.get_model_by_name("marks"))
  }

  listen(source) {
    if (!source) return
    source.selected.properties.indices.change.connect(() => {
      const [index] = source.selected.indices
      if (index === undefined) return
      queueMicrotask(() => { source.selected.indices = [] })
      const cell = source.data.cell[index]
      if (cell) this.onpick(cell)
    })
    source.inspect.connect(() => {
      const [index] = source.inspected.indices
      this.tell(index === undefined ? null : {head: source.data.tip_head[index], body: source.data.tip_body[index], opens: !!source.data.cell[index]})
    })
  }

  follow(event) {
    const box = this.el.getBoundingClientRect()
    this.at = [event.clientX - box.left, event.clientY - box.top]
    if (this.tip && !this.tip.hidden) this.place()
  }

  tell(words) {
    if (!this.el) return
    if (!this.tip || this.tip.parentNode !== this.el) {
      this.tip = document.createElement("div")
      this.tip.className = "chart-tip"
      this.tip.hidden = true
      this.tip.append(document.createElement("strong"), document.createElement("span"))
      this.el.append(this.tip)
    }
    this.tip.hidden = !words
    this.el.classList.toggle("opens", !!words?.opens)
    if (!words) return
    this.tip.firstChild.textContent = words.head
    this.tip.lastChild.textContent = words.body
    this.place()
  }

  place() {
    const [x, y] = this.at || [0, 0]
    const {offsetWidth: width, offsetHeight: height} = this.tip
    const left = Math.max(0, Math.min(x + 14, this.el.clientWidth - width))
    const top = y - height - 12 < 0 ? y + 18 : y - height - 12
    this.tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`
  }
}

function drop({views, box, doc}) {
  doc.clear()
  views.clear?.()
  box.remove()
  const all = globalThis.Bokeh.documents
  const at = all ? all.indexOf(doc) : -1
  if (at >= 0) all.splice(at, 1)
}

/** The chart, or why there is none. */
export function chartView(own, chart, action) {
  if (!chart) return skeleton(9)
  if (chart.refused) return h("div", {key: "refused"}, empty("Nothing to draw", chart.refused, action))
  return [
    h("div", {class: "chart-stage", key: "stage", role: "img", "aria-label": chart.name, style: {height: `${chart.height}px`},
      ref: (el) => own.stage.on(el, chart)}),
  ]
}

export function legend(app, chart, onpick) {
  if (!chart || chart.refused || !chart.legend.length) return null
  const scale = chart.kind === "week"
  return h("ul", {class: "chart-legend" + (scale ? " scale" : ""), key: "legend", "aria-label": "Legend"}, chart.legend.map((entry, index) =>
    h("li", {key: `${entry.name}-${index}`},
      entry.cell && !scale
        ? h("button", {type: "button", class: "chart-key", title: `Jobs of ${entry.name}`, onclick: () => onpick(entry.cell)}, swatch(entry), h("span", {class: "clip"}, entry.name))
        : h("span", {class: "chart-key"}, swatch(entry), h("span", {}, entry.name)))))
}

const swatch = (entry) => h("i", {class: "chart-swatch" + (entry.dashed ? " dashed" : ""), style: {"--colour": entry.colour}})

/** The same figures as a table; each cell with jobs behind it opens them. */
export function twin(own, chart, onpick) {
  if (!chart) return skeleton(9)
  if (chart.refused) return h("div", {key: "refused"}, empty("Nothing to show", chart.refused))
  const {heads} = chart.twin
  const order = own.twinOrder?.kind === chart.kind && own.twinOrder.column < heads.length ? own.twinOrder : null
  const rows = order ? sorted(chart.twin.rows, order) : chart.twin.rows
  const sort = (column) => {
    own.twinOrder = {kind: chart.kind, column, down: order?.column === column ? !order.down : heads[column][1]}
    own.redraw()
  }
  return h("div", {class: "table-wrap tall-twin", tabindex: "0", role: "region", "aria-label": "The chart’s figures as a table", key: "twin"},
    h("table", {class: "table figures"},
      h("thead", {}, h("tr", {}, heads.map(([title, numeric], column) =>
        h("th", {scope: "col", key: `${column}`, class: numeric ? "right" : undefined, "aria-sort": order?.column === column ? (order.down ? "descending" : "ascending") : "none"},
          h("button", {type: "button", class: "sorter", onclick: () => sort(column)}, title, h("span", {"aria-hidden": "true"}, order?.column === column ? (order.down ? " ↓" : " ↑") : "")))))),
      h("tbody", {}, rows.map((row, index) => h("tr", {key: `r${index}`}, row.map(([text, , cell], column) => {
        const content = cell ? h("button", {type: "button", class: "as-link", title: "Jobs behind it", onclick: () => onpick(cell)}, text) : text
        return column === 0 ? h("th", {scope: "row", key: "0"}, content) : h("td", {key: `${column}`, class: heads[column][1] ? "num right" : undefined}, content)
      }))))))
}

function sorted(rows, {column, down}) {
  const known = rows.filter((row) => row[column][1] !== null)
  const unknown = rows.filter((row) => row[column][1] === null)
  const order = new Intl.Collator("en", {numeric: true})
  known.sort((a, b) => {
    const [left, right] = [a[column][1], b[column][1]]
    const step = typeof left === "number" && typeof right === "number" ? left - right : order.compare(left, right)
    return down ? -step : step
  })
  return [...known, ...unknown]
}
