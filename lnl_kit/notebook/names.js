// Gives each slider of this output the name that stands beside it: ipywidgets leaves the handles without one, and a
// screen reader would say a number alone.
function render({ el }) {
  let watch = null;
  const name = (box) => {
    for (const slider of box.querySelectorAll(".widget-slider")) {
      const text = slider.querySelector(".widget-label")?.textContent.trim();
      for (const handle of slider.querySelectorAll(".noUi-handle")) {
        if (text && handle.getAttribute("aria-label") !== text) handle.setAttribute("aria-label", text);
      }
    }
  };
  const start = () => {
    if (!el.isConnected) {  // not shown yet
      timer = setTimeout(start, 100);
      return;
    }
    const box = el.closest(".jp-OutputArea-output, .output, .cell-output") ?? el.parentElement;
    watch = new MutationObserver(() => name(box));
    watch.observe(box, { childList: true, subtree: true });
    name(box);
  };
  let timer = setTimeout(start, 0);
  return () => { clearTimeout(timer); watch?.disconnect(); };
}

export default { render };
