// The look that was chosen in the console, before anything is drawn.
try {
  const choice = localStorage.getItem("carme-theme");
  if (choice === "dark" || choice === "light") document.documentElement.dataset.theme = choice;
} catch {
  // no storage: the system's choice holds
}
