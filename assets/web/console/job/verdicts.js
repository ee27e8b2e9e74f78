// Did it use what it asked for? The fact, why it matters, the exact change, what that saves.
import {h} from "../dom.js"
import {icon} from "../icons.js"

const LOOKS = {good: ["good", "✓", "Good"], note: ["info", "i", "Note"], warn: ["wait", "▲", "Change"], bad: ["bad", "✕", "Problem"]}

export function verdicts(app, found) {
  if (!found?.verdicts.length) return null
  return h("section", {class: "verdicts", "aria-label": "Verdict", key: "verdicts"}, found.verdicts.map((each) => {
    const [tone, glyph, word] = LOOKS[each.level] || LOOKS.note
    return h("div", {class: `verdict ${tone}`, key: each.rule},
      h("span", {class: "glyph", "aria-hidden": "true"}, glyph),
      h("div", {},
        h("p", {class: "verdict-fact"}, h("span", {class: "unseen"}, `${word}: `), h("strong", {}, each.fact)),
        h("p", {class: "verdict-why"}, each.why),
        each.change ? h("p", {class: "verdict-change"}, change(app, each.change)) : null,
        each.saves ? h("p", {class: "verdict-saves quiet-text"}, each.saves) : null))
  }))
}

/** Options for sbatch, alone or in backquotes, can be copied. */
function change(app, text) {
  return (text.startsWith("--") ? `\`${text}\`` : text).split(/(`[^`]+`)/).filter(Boolean).map((part, at) => {
    if (!part.startsWith("`")) return part
    const code = part.slice(1, -1)
    return h("button", {type: "button", class: "code-copy", key: `${at}`, title: "Copy", "aria-label": `Copy ${code}`, onclick: () => copy(app, code)}, h("code", {}, code), icon("copy"))
  })
}

export async function copy(app, text, said = "Copied.") {
  try {
    await navigator.clipboard.writeText(text)
    app.toast(said, "good")
  } catch {
    app.toast("The browser doesn’t let the page copy. Mark the text and copy it yourself.", "bad")
  }
}
