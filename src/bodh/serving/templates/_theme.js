  const root = document.documentElement;
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme:dark)").matches;
  const themeButton = document.querySelector(".theme");
  const tellTheme = () => themeButton.setAttribute("aria-label", dark() ? "Switch to the light theme" : "Switch to the dark theme");
  try { const kept = localStorage.getItem("bodh-theme"); if (kept) root.dataset.theme = kept; } catch { /* no storage: no memory */ }
  tellTheme();
  themeButton.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("bodh-theme", root.dataset.theme); } catch { /* as above */ }
    tellTheme();
  });
