// The console in the browser: one component that draws the frame and the page one is on, from what the server
// pushed. Pages are functions of the app's state; nothing here decides what a person may see or do.
import {Channel} from "./channel.js"
import {patch} from "./dom.js"
import {setClock, ticking, now} from "./format.js"
import {shell, Theme} from "./shell.js"
import * as home from "./home.js"
import * as cluster from "./cluster.js"
import * as jobs from "./jobs.js"
import * as launch from "./launch.js"
import * as sessions from "./sessions.js"
import {announceChanges} from "./notify.js"

const PAGES = {home, cluster, jobs, launch, sessions}
const AGES_EVERY_MS = 15000

class App {
  constructor(model, root, boot) {
    this.boot = boot
    this.root = root
    this.channel = new Channel(model, (topic) => this.arrived(topic))
    this.state = {} // a page's own state, kept while one is elsewhere
    this.ui = {nav: false, menu: false, dialog: null, toasts: [], said: "", online: true}
    this.focusBack = []
    this.route = this.read(location)
    this.theme = new Theme(this)
    this.scheduled = false
    for (const key in boot.topics) this.channel.put(key, boot.topics[key].v, boot.topics[key].data)
  }

  get page() {
    return PAGES[this.route.page] || home
  }

  read(url) {
    const item = this.boot.nav.find((entry) => entry.path === url.pathname)
    return {page: item ? item.name : this.boot.page, query: new URLSearchParams(url.search)}
  }

  /** Go to an address of the console without loading it anew. `replace`: no step in the history. */
  go(href, {replace = false} = {}) {
    const url = new URL(href, location.origin)
    const before = this.route.page
    if (!this.boot.nav.some((entry) => entry.path === url.pathname)) {
      location.assign(url)
      return
    }
    history[replace ? "replaceState" : "pushState"](null, "", url.pathname + url.search)
    this.follow(before)
  }

  follow(before) {
    this.route = this.read(location)
    this.ui.nav = false
    this.ui.menu = false
    if (before !== this.route.page) {
      if (PAGES[before]?.leave) PAGES[before].leave(this)
      this.ui.dialog = null
      this.enter()
      this.renderNow()
      const content = this.root.querySelector("#content")
      content?.scrollTo(0, 0)
      content?.focus({preventScroll: true})
    } else {
      if (this.page.moved) this.page.moved(this)
      this.render()
    }
  }

  enter() {
    this.channel.want(["fresh", ...this.page.topics(this)])
    this.page.enter?.(this)
    document.title = `${this.page.title} – ${this.boot.instance}`
  }

  /** Change the query of the page one is on; empty values are left out. */
  query(changes, options) {
    const query = new URLSearchParams(this.route.query)
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === "") query.delete(name)
      else query.set(name, value)
    }
    const text = query.toString()
    this.go(location.pathname + (text ? "?" + text : ""), options)
  }

  call(action, args) {
    return this.channel.call(action, args)
  }

  topic(key) {
    return this.channel.get(key)
  }

  arrived(topic) {
    if (topic === "fresh") setClock(this.topic("fresh").now, this.boot.zone)
    if (topic === "mine") announceChanges(this)
    this.page.arrived?.(this, topic)
    this.render()
  }

  render() {
    if (this.scheduled) return
    this.scheduled = true
    const frame = () => this.scheduled && this.renderNow()
    // A page in the background gets no animation frames.
    if (document.hidden) setTimeout(frame, 50)
    else requestAnimationFrame(frame)
  }

  renderNow() {
    this.scheduled = false
    patch(this.root, shell(this, this.page.view(this)))
  }

  /** Tell readers of the screen; `toast` shows it to all. */
  say(text) {
    this.ui.said = text
    this.render()
  }

  toast(text, tone = "info") {
    const toast = {text, tone, id: `${performance.now()}`}
    this.ui.toasts = [...this.ui.toasts.slice(-2), toast]
    this.ui.said = text
    this.render()
    setTimeout(() => this.dismiss(toast.id), tone === "bad" ? 12000 : 6000)
  }

  dismiss(id) {
    this.ui.toasts = this.ui.toasts.filter((toast) => toast.id !== id)
    this.render()
  }

  ask(dialog) {
    this.ui.dialog = dialog
    this.render()
  }

  closeDialog() {
    this.ui.dialog = null
    this.render()
  }

  remember() {
    this.focusBack.push(this.root.getRootNode().activeElement)
  }

  restore() {
    const back = this.focusBack.pop()
    requestAnimationFrame(() => back?.isConnected && back.focus({preventScroll: true}))
  }

  start() {
    addEventListener("popstate", () => this.follow(this.route.page))
    const timers = [
      setInterval(() => this.tick(), 1000),
      setInterval(() => this.render(), AGES_EVERY_MS),
    ]
    this.stopTimers = () => timers.forEach(clearInterval)
    const document_ = this.channel.model.document
    document_?.on_event("connection_lost", () => {
      this.ui.online = false
      this.render()
    })
    document_?.on_event("client_reconnected", () => {
      this.ui.online = true
      this.channel.want(this.channel.wanted)
      this.page.arrived?.(this, "fresh")
      this.render()
    })
    const fresh = this.topic("fresh")
    setClock(fresh ? fresh.now : this.boot.now, this.boot.zone)
    this.enter()
    this.renderNow()
  }

  tick() {
    for (const el of this.root.querySelectorAll("[data-until]")) {
      const text = ticking(Number(el.dataset.until) - now())
      if (el.textContent !== text) el.firstChild.data = text
    }
  }
}

/** Called by the Panel component: draw the console into `el`. */
function mount({model, view, el}) {
  const boot = JSON.parse(model.boot)
  const root = document.createElement("div")
  root.className = "console"
  el.append(root)
  const app = new App(model, root, boot)
  app.start()
  document.getElementById("carme-skeleton")?.remove()
  root.dataset.ready = "yes"
  performance.mark("carme-complete")
}

// Panel loads a component's code through a shim that keeps browsers from caching it; this module is loaded by the
// document itself, before any component is drawn, and found by the component here.
globalThis.carme = {mount}
