// What may be done to the job, with a question before what can't be undone; the scheduler's last word is shown.
import {h} from "../dom.js"
import {parseSpan, span} from "../format.js"
import {icon} from "../icons.js"
import {go} from "../ui.js"
import {launchHref} from "../sessions/card.js"
import {copy} from "./verdicts.js"

export function actions(app, own, again) {
  const {job} = own
  const {can} = job
  const list = []
  const button = (name, words, picture, onclick, extra = "") => h("button", {type: "button", class: `button ${extra}`, key: name, onclick}, icon(picture), words)
  if (job.session && job.over) list.push(go(app, launchHref(job.session.request), {class: "button", key: "relaunch"}, icon("again"), "Edit and relaunch"))
  if (job.session) list.push(button("sbatch", "Copy as sbatch", "copy", () => copy(app, job.session.sbatch, "The head of a batch script is copied.")))
  if (!can.release) list.push(button("release", "Release", "right", () => act(app, job, "release", {}, "may start again", again)))
  if (!can.hold) list.push(button("hold", "Hold", "pause", () => (job.own ? act(app, job, "hold", {}, "is held; Release lets it start", again) : confirmHold(app, job, again))))
  if (!can.extend) list.push(button("extend", "Time limit", "clock", () => timeLimit(app, job, again)))
  if (!can.requeue) list.push(button("requeue", "Requeue", "again", () => confirmRequeue(app, job, again)))
  list.push(button("link", "Copy link", "link", () => copy(app, linkOf(job), "The link to this job is copied."), "quiet"))
  if (!can.cancel) list.push(button("cancel", "Cancel job", "stop", () => confirmCancel(app, job, again), "danger"))
  return list
}

/** An address that names this very job, also when its number has come again; with what is looked at. */
const linkOf = (job) => {
  const url = new URL(location.href)
  url.searchParams.set("cluster", job.cluster)
  url.searchParams.set("submit", job.origin_s)
  return url.href
}

async function act(app, job, asked, args, done, again) {
  try {
    await app.call("job.act", {id: job.job_id, do: asked, ...args})
    app.toast(`Job ${job.label} ${done}.`, "good")
    again()
    return true
  } catch (error) {
    app.toast(error.message, "bad")
    return false
  }
}

/** A question with one way forward. `fields()` gives more content; `args()` what is sent, or words that say what is wrong. */
function question(app, {title, body, go: forward, busy: doing, tone = "primary", run}) {
  const ui = {busy: false}
  const press = async () => {
    if (ui.busy) return
    ui.busy = true
    app.render()
    await run(ui)
    ui.busy = false
    app.render()
  }
  app.ask(() => ({
    key: "job-question", title, onclose: () => app.closeDialog(),
    body: typeof body === "function" ? body(press) : body,
    actions: [h("button", {type: "button", class: "button", "data-first": typeof body === "function" ? undefined : "", onclick: () => app.closeDialog()}, "Back"),
      h("button", {type: "button", class: `button ${tone}`, disabled: ui.busy, onclick: press}, ui.busy ? doing : forward)],
  }))
}

const whose = (job) => (job.own ? null : h("p", {}, h("strong", {}, `It is ${job.user}’s job.`)))

function confirmCancel(app, job, again) {
  question(app, {
    title: `Cancel job ${job.label}?`, go: "Cancel job", busy: "Cancelling …", tone: "danger solid",
    body: [h("p", {}, job.name), h("p", {}, job.whole_array ? "This number stands for several tasks: the whole array is cancelled, its running tasks too." : job.running ? "It is ended at once; what it has not written is lost." : "It loses its place in the queue."), whose(job)],
    run: async () => { await act(app, job, "cancel", {}, "is being cancelled", again); app.closeDialog() },
  })
}

function confirmRequeue(app, job, again) {
  question(app, {
    title: `Put job ${job.label} back in the queue?`, go: "Requeue", busy: "Asking …", tone: "danger solid",
    body: [h("p", {}, job.name), h("p", {}, job.running ? "It is ended now and starts again from its beginning; what it has not written is lost." : "It is run once more, from its beginning."),
      h("p", {}, "Slurm refuses it for jobs that were submitted with --no-requeue or without a batch script."), whose(job)],
    run: async () => { await act(app, job, "requeue", {}, "is put back in the queue", again); app.closeDialog() },
  })
}

function confirmHold(app, job, again) {
  question(app, {
    title: `Hold job ${job.label}?`, go: "Hold", busy: "Asking …",
    body: [h("p", {}, "What an operator holds only operators can release: its owner can’t."), whose(job)],
    run: async () => { await act(app, job, "hold", {}, "is held", again); app.closeDialog() },
  })
}

function timeLimit(app, job, again) {
  const form = {text: job.time_limit_s ? span(job.time_limit_s) : "", wrong: ""}
  const raise = job.scheduler === "slurm" && !job.operator
  question(app, {
    title: `Time limit of job ${job.label}`, go: "Change", busy: "Asking …",
    body: (press) => {
      const seconds = parseSpan(form.text)
      return [
        h("div", {class: "field" + (form.wrong ? " wrong" : "")},
          h("label", {for: "job-limit"}, "New limit, from its start"),
          h("input", {id: "job-limit", type: "text", "data-first": "", value: form.text, "aria-describedby": "job-limit-hint", "aria-invalid": form.wrong ? "true" : undefined,
            oninput: (event) => { form.text = event.target.value; form.wrong = ""; app.render() },
            onkeydown: (event) => { if (event.key === "Enter") { event.preventDefault(); press() } }}),
          form.wrong ? h("p", {class: "problem"}, h("span", {"aria-hidden": "true"}, "✕ "), form.wrong) : null,
          h("p", {class: "hint", id: "job-limit-hint"}, seconds ? `Understood as ${span(seconds)}${job.running ? `, until ${new Date((job.start_s + seconds) * 1000).toLocaleString("en-GB", {weekday: "short", hour: "2-digit", minute: "2-digit", timeZone: app.boot.zone})}` : ""}. ` : "For example 8h, 90m or 1d 12h. ",
            job.time_limit_s ? `Now ${span(job.time_limit_s)}.` : "")),
        raise ? h("p", {class: "hint"}, "You may shorten it, which lets a waiting job start sooner. Slurm lets only its operators make it longer.") : null,
        whose(job),
      ]
    },
    run: async () => {
      const seconds = parseSpan(form.text)
      if (!seconds || seconds < 60) {
        form.wrong = "A time of a minute or more is wanted, such as 8h or 90m."
        return
      }
      try {
        await app.call("job.act", {id: job.job_id, do: "extend", time_s: seconds})
        app.toast(`The limit of job ${job.label} is ${span(seconds)}.`, "good")
        app.closeDialog()
        again()
      } catch (error) {
        form.wrong = error.message
      }
    },
  })
}
