// The button that copies a list, where the browser lets it.
for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const lines = [...document.getElementById(button.dataset.copy).children].map((item) => item.textContent.trim());
    await navigator.clipboard.writeText(lines.join("\n") + "\n");
    button.textContent = "Copied";
  });
}
