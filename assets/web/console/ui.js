// The parts every page is made of.
import {h} from "./dom.js"
import {count, percent} from "./format.js"
import {icon} from "./icons.js"

/** A state in colour, glyph and word. `look`: [class, glyph, word]. */
export const badge = (look, word) =>
  h("span", {class: `badge ${look[0]}`}, h("span", {class: "glyph", "aria-hidden": "true"}, look[1]), word || look[2])

/** How much of something is in use, as a bar with its numbers in words beside it. */
export function meter({label, used, total, off = 0, words, tone}) {
  const share = percent(used, total)
  return h(
    "div",
    {class: "meter-row"},
    h("span", {class: "meter-label"}, label),
    h("span", {class: "meter-words num"}, words),
    h(
      "div",
      {class: `meter ${tone || ""}`, role: "img", "aria-label": `${label}: ${words}`},
      h("i", {class: "used", style: {width: `${total ? (100 * used) / total : 0}%`}}),
      off ? h("i", {class: "off", style: {width: `${(100 * off) / total}%`}}) : null,
      h("span", {class: "share", "aria-hidden": "true"}, total ? `${share} %` : ""),
    ),
  )
}

/** A figure and what it is. */
export const stat = (value, label, extra) =>
  h("div", {class: "stat"}, h("span", {class: "stat-value num"}, value), h("span", {class: "stat-label"}, label), extra)

export const empty = (title, text, action) =>
  h("div", {class: "empty"}, h("p", {class: "empty-title"}, title), text ? h("p", {}, text) : null, action)

export const skeleton = (lines = 3) =>
  h("div", {class: "skeleton", "aria-hidden": "true"}, Array.from({length: lines}, (_, i) => h("i", {key: `l${i}`})))

export const notice = (tone, ...content) =>
  h("div", {class: `notice ${tone}`, role: tone === "bad" ? "alert" : "status"}, icon(tone === "info" ? "info" : "warn"), h("div", {}, content))

/** One choice of a few, as pills; radio semantics, arrow keys move. */
export function pills({label, value, options, onpick, name, describedby}) {
  const pick = (option) => !option.disabled && onpick(option.value)
  const move = (event) => {
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key]
    if (!step) return
    event.preventDefault()
    const open = options.filter((option) => !option.disabled)
    const at = open.findIndex((option) => option.value === value)
    const next = open[(at + step + open.length) % open.length]
    if (!next) return
    onpick(next.value)
    const group = event.currentTarget
    requestAnimationFrame(() => group.querySelector('[aria-checked="true"]')?.focus())
  }
  const anyChosen = options.some((option) => option.value === value)
  return h(
    "div",
    {class: "pills", role: "radiogroup", "aria-label": label, "aria-describedby": describedby, onkeydown: move, "data-name": name},
    options.map((option, index) =>
      h(
        "button",
        {
          type: "button", role: "radio", class: "pill", key: `${option.value}`,
          "aria-checked": String(option.value === value), disabled: !!option.disabled, title: option.title,
          tabindex: option.value === value || (!anyChosen && index === 0) ? "0" : "-1",
          onclick: () => pick(option),
        },
        option.label,
        option.note ? h("span", {class: "pill-note"}, option.note) : null,
      ),
    ),
  )
}

/** A filter that is on or off. */
export const toggle = (label, on, onclick, note) =>
  h("button", {type: "button", class: "pill", "aria-pressed": String(on), onclick}, label,
    note !== undefined ? h("span", {class: "pill-note num"}, count(note)) : null)

export const facts = (rows) =>
  h("dl", {class: "facts"},
    rows.filter((row) => row && row[1] !== null && row[1] !== undefined && row[1] !== "").map(([name, value]) =>
      h("div", {key: name}, h("dt", {}, name), h("dd", {}, value))))

export const field = ({id, label, control, hint, problem}) =>
  h("div", {class: "field" + (problem ? " wrong" : ""), key: id},
    h("label", {for: id, id: `${id}-label`}, label), control,
    problem ? h("p", {class: "problem", id: `${id}-problem`}, h("span", {"aria-hidden": "true"}, "✕ "), problem) : null,
    hint ? h("p", {class: "hint", id: `${id}-hint`}, hint) : null)

export function select({id, value, options, onchange, problem, disabled}) {
  return h("select", {id, value, disabled: !!disabled, onchange: (event) => onchange(event.target.value), "aria-invalid": problem ? "true" : undefined, "aria-describedby": problem ? `${id}-problem` : undefined},
    options.map((option) => h("option", {key: `o${option.value}`, value: option.value, selected: option.value === value}, option.label)))
}

/** A link that navigates in the page; a real link for everything else a link can do. */
export const go = (app, href, props, ...content) =>
  h("a", {
    ...props, href,
    onclick: (event) => {
      if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
      event.preventDefault()
      app.go(href)
    },
  }, content)

/** The side drawer: focus goes in when it opens, back to where it came from when it closes. */
export function drawer(app, {key, title, sub, onclose, body, foot}) {
  return h("div", {class: "drawer-wrap", key: "drawer"},
    h("div", {class: "scrim", onclick: onclose}),
    h("section", {
      class: "drawer", role: "dialog", "aria-modal": "true", "aria-label": title, tabindex: "-1", key,
      onmount: (el) => { app.remember(); queueMicrotask(() => el.focus({preventScroll: true})) }, // as soon as it stands: Escape may come at once
      onunmount: () => app.restore(),
      onkeydown: (event) => trap(event, onclose),
    },
      h("div", {class: "drawer-head"},
        h("div", {}, h("h2", {}, title), sub ? h("p", {class: "sub"}, sub) : null),
        h("button", {type: "button", class: "button quiet square", "aria-label": "Close", onclick: onclose}, icon("close"))),
      h("div", {class: "drawer-body", tabindex: "0", role: "group", "aria-label": `${title}: details`}, body),
      foot ? h("div", {class: "drawer-foot"}, foot) : null))
}

/** A question with an answer; Escape is no. */
export function dialog(app, {title, body, actions, onclose, key = "dialog", wide}) {
  return h("div", {class: "dialog-wrap", key},
    h("div", {class: "scrim", onclick: onclose}),
    h("section", {
      class: "dialog" + (wide ? " wide" : ""), role: "dialog", "aria-modal": "true", "aria-label": title, tabindex: "-1",
      onmount: (el) => { app.remember(); queueMicrotask(() => (el.querySelector("[data-first]") || el).focus()) },
      onunmount: () => app.restore(),
      onkeydown: (event) => trap(event, onclose),
    },
      h("h2", {}, title), h("div", {class: "dialog-body"}, body), h("div", {class: "dialog-foot"}, actions)))
}

function trap(event, onclose) {
  if (event.key === "Escape") {
    event.stopPropagation()
    onclose()
    return
  }
  if (event.key !== "Tab") return
  const all = [...event.currentTarget.querySelectorAll("a[href], button:not([disabled]), input, select, textarea, [tabindex='0']")]
  if (!all.length) return
  const root = event.currentTarget.getRootNode()
  const [first, last] = [all[0], all[all.length - 1]]
  if (event.shiftKey && (root.activeElement === first || root.activeElement === event.currentTarget)) {
    event.preventDefault()
    last.focus()
  } else if (!event.shiftKey && root.activeElement === last) {
    event.preventDefault()
    first.focus()
  }
}
