// Telling a person that their job leaves its GPUs idle: what they would read, before it goes out.
import {h} from "../dom.js"
import {skeleton} from "../ui.js"

/** The dialog; `done` is called once it was sent. */
export function tellForm(app, job, done) {
  const own = {draft: null, error: "", note: "", busy: false, asked: 0}
  const preview = () => {
    const turn = (own.asked += 1)
    app.call("waste.draft", {job: job.job_id, note: own.note}).then((draft) => {
      if (own.asked !== turn) return
      own.draft = draft
      own.error = ""
      app.render()
    }, (error) => {
      if (own.asked !== turn) return
      own.error = error.message
      app.render()
    })
  }
  const send = async () => {
    own.busy = true
    app.render()
    try {
      const sent = await app.call("waste.send", {job: job.job_id, note: own.note})
      app.closeDialog()
      app.toast(`${sent.person} is told about job ${job.label}${sent.mail === "failed" ? ", but not by mail" : ""}`, sent.mail === "failed" ? "bad" : "good")
      done()
    } catch (error) {
      own.busy = false
      own.error = error.message
      app.render()
    }
  }
  preview()
  app.ask(() => ({
    key: "tell", title: `Notice about job ${job.label}`, wide: true, onclose: () => app.closeDialog(),
    body: [
      own.error ? h("p", {class: "problem", role: "alert", key: "error"}, h("span", {"aria-hidden": "true"}, "✕ "), own.error) : null,
      own.draft ? [
        h("p", {key: "to"}, "To ", h("strong", {}, own.draft.person), `, ${own.draft.ways}.`),
        h("div", {class: "waste-letter", key: "letter", tabindex: "0", role: "region", "aria-label": "What will be sent"}, h("p", {}, h("strong", {}, own.draft.subject)), h("pre", {}, own.draft.text)),
        h("div", {class: "field", key: "note"}, h("label", {class: "label", for: "waste-note"}, "A line of your own, if you like"),
          h("textarea", {id: "waste-note", rows: "2", maxlength: "1000", value: own.note, onchange: (event) => { own.note = event.target.value; preview() }})),
      ] : own.error ? null : skeleton(6),
    ],
    actions: [
      h("button", {type: "button", class: "button", "data-first": "", onclick: () => app.closeDialog()}, "Cancel"),
      h("button", {type: "button", class: "button primary", disabled: own.busy || !own.draft, onclick: send}, own.busy ? "Sending …" : "Send"),
    ],
  }))
}
