// The frame: bar, navigation, content, and what lies over them.
import {h} from "./dom.js"
import {clock, when, span, now} from "./format.js"
import {icon} from "./icons.js"
import {toldBanner} from "./told.js"
import {dialog, go} from "./ui.js"

const LATE_FACTOR = 3 // a part this many periods old is told as late
const LATE_AT_LEAST_S = 45
const PARENTS = {job: "jobs", compare: "jobs"} // pages one comes to from another

export function shell(app, content) {
  return [
    h("a", {href: "#content", class: "skip", key: "skip", onclick: (event) => {
      event.preventDefault()
      app.root.querySelector("#content").focus()
    }}, "Skip to content"),
    bar(app),
    h("div", {class: "frame", key: "frame"},
      nav(app),
      app.ui.nav ? h("div", {class: "scrim nav-scrim", key: "scrim", onclick: () => { app.ui.nav = false; app.render() }}) : null,
      h("main", {id: "content", tabindex: "-1", class: `page page-${app.route.page}`, key: "main"},
        lost(app), stale(app), parted(app), misread(app), toldBanner(app), h("div", {class: "page-body", key: app.route.page}, content.body))),
    content.over || null,
    app.ui.dialog ? dialog(app, app.ui.dialog(app)) : null,
    // A landmark, for who walks by them; what is said is read out by the line below.
    !app.ui.toasts.length ? null : h("section", {class: "toasts", key: "toasts", "aria-label": "Messages"}, app.ui.toasts.map((toast) =>
      h("div", {class: `toast ${toast.tone}`, key: toast.id},
        h("span", {class: "glyph", "aria-hidden": "true"}, toast.tone === "bad" ? "✕" : toast.tone === "good" ? "✓" : "i"),
        h("span", {}, toast.text),
        h("button", {type: "button", class: "button quiet square small", "aria-label": "Dismiss", onclick: () => app.dismiss(toast.id)}, icon("close"))))),
    h("div", {class: "said", role: "status", "aria-live": "polite", key: "said"}, app.ui.said),
  ]
}

function bar(app) {
  const {boot} = app
  return h("header", {class: "bar", key: "bar"},
    h("button", {type: "button", class: "button quiet square burger", "aria-label": "Navigation", "aria-expanded": String(app.ui.nav),
      onclick: () => { app.ui.nav = !app.ui.nav; app.render() }}, icon(app.ui.nav ? "close" : "menu")),
    go(app, "/", {class: "brand", "aria-label": `${boot.instance}: home`},
      h("img", {class: "mark", src: "/assets/logo.svg", alt: "", width: 26, height: 26}), h("span", {class: "brand-name"}, boot.instance)),
    h("span", {class: "grow"}),
    chip(app),
    h("button", {type: "button", class: "button quiet square", onclick: () => app.theme.flip(),
      "aria-label": app.theme.dark ? "Switch to the light theme" : "Switch to the dark theme",
      title: app.theme.dark ? "Light theme" : "Dark theme"}, icon(app.theme.dark ? "sun" : "moon")),
    userMenu(app))
}

/** How fresh what one sees is, always there, in words. */
function chip(app) {
  const fresh = app.topic("fresh")
  if (!app.ui.online) return h("span", {class: "chip bad"}, h("span", {"aria-hidden": "true"}, "✕ "), "Offline")
  if (!fresh || !fresh.taken_s) return h("span", {class: "chip wait"}, h("span", {"aria-hidden": "true"}, "◌ "), "Waiting for data")
  const state = freshness(fresh)
  const glyph = state === "live" ? "●" : "▲"
  const title = state === "live" ? `The queue was read at ${clock(fresh.taken_s)}` : fresh.error || "The collector is late"
  return h("span", {class: `chip ${state === "live" ? "good" : "wait"}`, title},
    h("span", {"aria-hidden": "true"}, glyph + " "),
    h("span", {class: "chip-long"}, state === "live" ? `${fresh.cluster} · ` : "as of "),
    h("span", {class: "num"}, clock(fresh.taken_s)))
}

function freshness(fresh) {
  if (fresh.error) return "error"
  const late = Math.max(LATE_AT_LEAST_S, LATE_FACTOR * fresh.every_s)
  return now() - fresh.taken_s > late ? "late" : "live"
}

function stale(app) {
  const fresh = app.topic("fresh")
  if (!fresh) return null
  if (!fresh.taken_s) {
    return h("div", {class: "banner wait", role: "status", key: "stale"}, icon("warn"),
      h("span", {}, fresh.error ? `The scheduler has not answered yet: ${fresh.error}` : "Nothing is known of the cluster yet: the collector has not reported. This page fills by itself."))
  }
  const state = freshness(fresh)
  if (state === "live") return null
  const words = fresh.error
    ? [`Shown as of ${clock(fresh.taken_s)}. The scheduler has not answered since ${when(fresh.failing_since_s || fresh.taken_s)}: `, fresh.error]
    : [`Shown as of ${clock(fresh.taken_s)}. Nothing new for ${span(now() - fresh.taken_s)}; sessions go on meanwhile.`]
  return h("div", {class: "banner wait", role: "status", key: "stale"}, icon("warn"), h("span", {}, words))
}

function lost(app) {
  if (app.ui.online) return null
  return h("div", {class: "banner bad", role: "alert", key: "lost"}, icon("warn"),
    h("span", {}, "The connection to the console is lost. It is tried again by itself; your sessions and jobs go on."))
}

/** For operators: the console's figures and Slurm's own are not the same. */
function parted(app) {
  const found = app.topic("truth")?.parted
  if (!found?.length || app.route.page === "truth") return null
  const [first] = found
  return h("div", {class: "banner bad", role: "status", key: "parted"}, icon("warn"),
    h("span", {}, `The console’s usage of ${first.cluster} in ${first.month} differs from Slurm’s own without a reason${found.length > 1 ? `, and ${found.length - 1} more` : ""}. `,
      go(app, `/truth?cluster=${encodeURIComponent(first.cluster)}&month=${first.month}`, {}, "See what differs")))
}

/** For operators: the file of projects went bad while the console runs. */
function misread(app) {
  const words = app.topic("truth")?.projects
  return words ? h("div", {class: "banner wait", role: "status", key: "misread"}, icon("warn"), h("span", {}, `The projects stay as they were, for their file can’t be used: ${words}`)) : null
}

function nav(app) {
  const badges = {sessions: liveSessions(app)}
  return h("nav", {class: "side" + (app.ui.nav ? " shown" : ""), "aria-label": "Pages", key: "nav"},
    h("ul", {}, app.boot.nav.filter((item) => !item.hidden).map((item) =>
      h("li", {key: item.name},
        go(app, item.path, {class: "side-link", "aria-current": item.name === app.route.page || item.name === PARENTS[app.route.page] ? "page" : undefined},
          icon(item.icon), h("span", {}, item.title),
          badges[item.name] ? h("span", {class: "side-count num", "aria-label": `${badges[item.name]} active`}, String(badges[item.name])) : null)))))
}

function liveSessions(app) {
  const mine = app.topic("mine")
  return mine ? Object.values(mine.sessions).filter((session) => session.live).length : 0
}

function userMenu(app) {
  const {viewer, paths, csrf} = app.boot
  const close = () => { app.ui.menu = false; app.render() }
  const initials = (viewer.display || viewer.name).split(/\s+/).map((word) => word[0]).slice(0, 2).join("").toUpperCase()
  return h("div", {class: "user", key: "user", onkeydown: (event) => {
    if (event.key === "Escape" && app.ui.menu) {
      close()
      event.currentTarget.querySelector("button").focus()
    }
  }},
    h("button", {type: "button", class: "avatar", "aria-label": `${viewer.display || viewer.name}: account, theme, sign out`,
      "aria-expanded": String(app.ui.menu), onclick: () => { app.ui.menu = !app.ui.menu; app.render() }}, initials),
    app.ui.menu ? [
      h("div", {class: "menu-away", key: "away", onclick: close}),
      h("div", {class: "menu", key: "menu"},
        h("p", {class: "menu-who"}, h("strong", {}, viewer.display || viewer.name), h("span", {}, viewer.name + (viewer.roles.length ? ` · ${viewer.roles.join(", ")}` : ""))),
        h("a", {href: paths.account, class: "menu-item"}, icon("account"), "Account and security"),
        h("fieldset", {class: "menu-theme"}, h("legend", {}, "Theme"),
          [["auto", "System"], ["light", "Light"], ["dark", "Dark"]].map(([value, label]) =>
            h("label", {key: value}, h("input", {type: "radio", name: "theme", value, checked: app.theme.choice === value,
              onchange: () => app.theme.choose(value)}), h("span", {}, label)))),
        h("form", {method: "post", action: paths.sign_out},
          h("input", {type: "hidden", name: paths.csrf_field, value: csrf}),
          h("button", {type: "submit", class: "menu-item"}, icon("out"), "Sign out"))),
    ] : null)
}

/** Light, dark or as the system says; remembered in this browser. */
export class Theme {
  constructor(app) {
    this.app = app
    this.system = matchMedia("(prefers-color-scheme: dark)")
    this.choice = "auto"
    try {
      this.choice = localStorage.getItem("carme-theme") || "auto"
    } catch {
      // Storage is switched off: the system's theme it is.
    }
    this.system.addEventListener("change", () => { this.apply(); this.app.render() })
    this.apply()
  }

  get dark() {
    return this.choice === "dark" || (this.choice === "auto" && this.system.matches)
  }

  choose(choice) {
    this.choice = choice
    try {
      localStorage.setItem("carme-theme", choice)
    } catch {
      // Not remembered, but applied.
    }
    this.apply()
    this.app.render()
  }

  flip() {
    this.choose(this.dark ? "light" : "dark")
  }

  apply() {
    const theme = this.dark ? "dark" : "light"
    document.documentElement.dataset.theme = theme
  }
}
