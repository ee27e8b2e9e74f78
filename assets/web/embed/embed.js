// One figure of the console in another site's page:
//   <script src="https://console.example.org/embed.js" data-carme-embed="TOKEN" async></script>
// Optional: data-theme="light" or "dark" (else as the reader's system), data-title for the frame's name.
// The frame tells its height to this page, and only to a site that the embed was made for; this script believes only
// its own frame, on the console's own origin.
(() => {
  "use strict"
  const LOOKS = ["auto", "light", "dark"]
  const own = document.currentScript
  const tags = own && own.dataset.carmeEmbed ? [own] : document.querySelectorAll("script[data-carme-embed]")

  for (const tag of tags) {
    if (tag.dataset.carmeDone) continue
    tag.dataset.carmeDone = "yes"
    place(tag)
  }

  function place(tag) {
    const console_ = new URL(tag.src).origin
    const theme = LOOKS.includes(tag.dataset.theme) ? tag.dataset.theme : "auto"
    const frame = document.createElement("iframe")
    frame.src = `${console_}/embed/${encodeURIComponent(tag.dataset.carmeEmbed)}?theme=${theme}`
    frame.title = tag.dataset.title || "Cluster usage"
    frame.loading = "lazy"
    frame.referrerPolicy = "no-referrer"
    // Its own origin (to ask for its figures) and scripts; no forms, no windows, no way to move this page.
    frame.setAttribute("sandbox", "allow-scripts allow-same-origin")
    frame.style.cssText = "display:block;width:100%;height:320px;border:0"

    window.addEventListener("message", (event) => {
      if (event.origin !== console_ || event.source !== frame.contentWindow) return
      const height = event.data && event.data.carme === "height" ? Number(event.data.height) : NaN
      if (height >= 40 && height <= 20000) frame.style.height = `${Math.ceil(height)}px`
    })
    // The frame can't know which of its sites it stands in: it answers whoever greets it, if that is one of them.
    frame.addEventListener("load", () => frame.contentWindow.postMessage({carme: "hello"}, console_))
    tag.after(frame)
  }
})()
