"use strict";
const tip = document.getElementById("tip");
const tell = (text, event) => {
  tip.textContent = text;
  tip.hidden = !text;
  if (!text) return;
  const box = tip.getBoundingClientRect();
  const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - box.width - 8);
  const above = event.clientY - box.height - 12;
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = (above < 8 ? event.clientY + 16 : above) + "px";
};
const cells = new WeakMap();
const read = (image) => {
  if (!cells.has(image)) {
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    cells.set(image, context);
  }
  return cells.get(image);
};
const heat = (image, event) => {
  const box = image.getBoundingClientRect();
  const column = Math.min(image.naturalWidth - 1, Math.floor(((event.clientX - box.left) / box.width) * image.naturalWidth));
  const row = Math.min(image.naturalHeight - 1, Math.floor(((event.clientY - box.top) / box.height) * image.naturalHeight));
  if (column < 0 || row < 0) return "";
  const share = (read(image).getImageData(column, row, 1, 1).data[3] / 255) ** 2;
  const generation = image.dataset.generations.split(",")[row];
  const filter = image.dataset.order.split(",")[column];
  return `generation ${generation}, filter ${filter}: ` + (share ? `${(100 * share).toFixed(0)} % of its synapses alive` : "extinct");
};
document.addEventListener("pointermove", (event) => {
  const target = event.target;
  if (!(target instanceof Element)) return;
  if (target.matches("img.heat")) return tell(heat(target, event), event);
  const mark = target.closest("svg [role='graphics-symbol'][aria-label], [data-tip]");
  tell(mark ? mark.dataset.tip || mark.getAttribute("aria-label") : "", event);
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("button[data-save], button[data-copy]");
  if (!button) return;
  if (button.dataset.copy !== undefined) {
    const text = document.getElementById(button.dataset.copy).textContent;
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => { button.textContent = "Copied"; }, () => {});
    return;
  }
  const drawing = button.closest("figure").querySelector(".wide svg");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([drawing.outerHTML], { type: "image/svg+xml" }));
  link.download = button.dataset.save + ".svg";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => { for (const details of opened) details.open = false; });
