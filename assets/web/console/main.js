// The console in the browser: one component that draws the frame and the page one is on, from what the server
// pushed. Pages are functions of the app's state; nothing here decides what a person may see or do.
import {Channel} from "./channel.js"
import {patch} from "./dom.js"
import {setClock, ticking, now} from "./format.js"
import {shell, Theme} from "./shell.js"
import {goLive} from "./live.js"
import {announceChanges} from "./notify.js"
import {isLoaded, load, loadAhead, page} from "./pages.js"

const AGES_EVERY_MS = 15000
const CONNECT_MS = 15000 // without a connection for so long, the page says so
const LOOK_MS = 2000
const PATIENCE_MS = 5000 // the console answers, and the old connection still does not come back

class App {
  constructor(root, boot) {
    this.boot = boot
    this.root = root
    this.channel = new Channel((topic, changed) => this.arrived(topic, changed))
    this.state = {} // a page's own state, kept while one is elsewhere
    this.ui = {nav: false, menu: false, dialog: null, toasts: [], said: "", online: true}
    this.focusBack = []
    this.route = this.read(location)
    this.theme = new Theme(this)
    this.scheduled = false
    for (const key in boot.topics) this.channel.put(key, boot.topics[key].v, boot.topics[key].data)
  }

  get page() {
    return page(this.route.page, this.route.title)
  }

  read(url) {
    const {nav} = this.boot
    const item = nav.find((entry) => entry.path === url.pathname) || nav.find((entry) => entry.name === this.boot.page)
    return {page: item.name, title: item.title, query: new URLSearchParams(url.search)}
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
      page(before).leave?.(this)
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
    const {page: name} = this.route
    if (!isLoaded(name)) {
      load(name).then(() => {
        if (this.route.page !== name) return
        if (isLoaded(name)) this.enter()
        this.render()
      })
    }
    const everywhere = this.boot.nav.some((item) => item.name === "truth") ? ["mine", "told", "truth"] : ["mine", "told"]
    this.channel.want(["fresh", ...new Set([...everywhere, ...this.page.topics(this)])])
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

  /** `changed`: just now; else the topic may have been made long ago, and its time is only one that is over. */
  arrived(topic, changed) {
    if (topic === "fresh") {
      const said = this.topic("fresh").now
      if (changed || said > now()) setClock(said, this.boot.zone)
    }
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
    this.ui.said = this.ui.said === text ? text + "\u00a0" : text // the same words again are a change, too
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
    requestAnimationFrame(() => {
      const kept = back?.isConnected && back !== document.body ? back : this.root.querySelector("#content")
      kept?.focus({preventScroll: true})
    })
  }

  start() {
    addEventListener("popstate", () => this.follow(this.route.page))
    setInterval(() => this.tick(), 1000)
    setInterval(() => this.render(), AGES_EVERY_MS)
    setTimeout(() => this.channel.model || this.setOnline(false), CONNECT_MS)
    setClock(this.boot.now, this.boot.zone)
    this.enter()
    this.renderNow()
  }

  /** The websocket stands. Again, when the server had forgotten the document and built it anew. */
  attach(model) {
    this.channel.attach(model)
    model.document?.on_event("connection_lost", () => {
      this.setOnline(false)
      this.waitForServer()
    })
    model.document?.on_event("client_reconnected", () => {
      this.channel.want(this.channel.wanted)
      this.setOnline(true)
    })
    this.setOnline(true)
    this.root.dataset.live = "yes"
    loadAhead(this.boot.nav.map((item) => item.name))
  }

  setOnline(online) {
    if (this.ui.online === online) return
    this.ui.online = online
    this.render()
  }

  /** Bokeh tries again by itself; where it can't (the console was restarted), begin anew once the console answers. */
  waitForServer() {
    clearInterval(this.waiting)
    let up = 0
    this.waiting = setInterval(async () => {
      if (this.ui.online) {
        clearInterval(this.waiting)
        return
      }
      const answer = await fetch("/healthz", {cache: "no-store"}).catch(() => null)
      up = answer && answer.ok ? up || Date.now() : 0
      if (up && Date.now() - up > PATIENCE_MS) location.reload()
    }, LOOK_MS)
  }

  tick() {
    for (const el of this.root.querySelectorAll("[data-until]")) {
      const text = ticking(Number(el.dataset.until) - now())
      if (el.textContent !== text) el.firstChild.data = text
    }
  }
}

const app = new App(document.getElementById("carme"), JSON.parse(document.getElementById("carme-boot").textContent))
await load(app.route.page)
app.start()
app.root.dataset.ready = "yes"
performance.mark("carme-complete")

// The Panel component calls this when it is drawn, after the websocket stands.
globalThis.carme = {attach: (model) => app.attach(model)}
if (document.readyState === "complete") goLive()
else addEventListener("load", () => goLive(), {once: true})
