// Sets the theme before the first paint, so that a dark room never sees a white flash.
// Not a module: modules run only after the document is read.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("einthoven.theme");
  } catch {
    // Storage may be switched off; then the system's preference decides.
  }
  if (theme !== "dark" && theme !== "light") {
    theme = matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
  }
  document.documentElement.dataset.theme = theme;
})();
