// What the theme leaves to do for keyboards and screen readers: a name for the search, and focus for what scrolls.
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
addEventListener("load", () => {
  for (const wide of document.querySelectorAll(".md-typeset__scrollwrap, .cell .card, .cell figure, .cell pre")) {
    if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
  }
});

// Figures of notebooks: data in a file each, fetched and drawn when the reader comes near.
(() => {
  const here = new URL(".", document.currentScript.src);
  const places = [...document.querySelectorAll(".lnl-figure")];
  if (!places.length) return;
  const script = (address) => new Promise((done, failed) => {
    const element = document.createElement("script");
    element.onload = done;
    element.onerror = failed;
    element.src = address;
    document.head.append(element);
  });
  let library;
  window.lnlFigure = async (name, { data, layout, frames }) => {
    const place = document.getElementById(name);
    const config = { responsive: true, displaylogo: false, plotlyServerURL: "" };
    await Plotly.newPlot(place, data, layout, config);
    if (frames.length) await Plotly.addFrames(place, frames);
    place.dataset.drawn = "";
  };
  const draw = async (place) => {
    library ??= script(new URL("plotly.min.js", here));
    await library;
    await script(new URL(`../notebooks/figures/${place.id}.js`, here));
  };
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      draw(target).catch(() => { target.textContent = "This figure could not be drawn."; });
    }
  }, { rootMargin: "800px" });
  for (const place of places) near.observe(place);
})();
