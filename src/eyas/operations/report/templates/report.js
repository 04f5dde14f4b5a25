// Hovering, tapping or focusing what has a data-tip shows it; of a candidate also the share of channels it keeps.
(() => {
  const tip = document.getElementById("tip");
  const { groups, kept } = JSON.parse(document.getElementById("widths-data").textContent);
  const add = (parent, name, className, text = "") => {
    const element = parent.appendChild(document.createElement(name));
    element.className = className;
    element.textContent = text;
    return element;
  };
  const drawWidths = (widths) => {
    const bars = add(tip, "div", "tip-bars");
    widths.forEach((width, group) => {
      add(bars, "i", "").style.height = `${(100 * width) / groups[group][1]}%`;
    });
    const text = groups.length > 12 ? "" : widths.map((width, group) => `${width}/${groups[group][1]}`).join("  ");
    add(tip, "div", "tip-widths", text || `${groups.length} groups, input to output`);
  };
  const show = (mark) => {
    tip.replaceChildren();
    mark.dataset.tip.split("\n").forEach((line, number) => add(tip, "div", number ? "" : "tip-head", line));
    if (mark.dataset.candidate in kept) drawWidths(kept[mark.dataset.candidate]);
    tip.hidden = false;
    const at = mark.getBoundingClientRect();
    const left = at.left + at.width / 2 - tip.offsetWidth / 2;
    const above = at.top - tip.offsetHeight - 12;
    tip.style.left = `${Math.max(8, Math.min(left, document.documentElement.clientWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${above > 8 ? above : at.bottom + 12}px`;
  };
  const look = (event) => {
    const mark = event.target.closest?.("[data-tip]");
    if (mark) show(mark);
    else tip.hidden = true;
  };
  document.addEventListener("pointerover", look);
  document.addEventListener("focusin", look);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
  document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
})();
