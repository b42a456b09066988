"use strict";
const MARK = "[role='graphics-symbol'][aria-label]:not([aria-roledescription='axis'], [aria-roledescription='legend'])";
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
  const mark = target.closest(`svg ${MARK}, [data-tip]`);
  tell(mark ? mark.dataset.tip || mark.getAttribute("aria-label") : "", event);
});
const marks = (svg) => [...svg.querySelectorAll(MARK)];
for (const svg of document.querySelectorAll("figure svg")) {
  marks(svg).forEach((mark, place) => mark.setAttribute("tabindex", place ? "-1" : "0"));
}
const beside = (element) => {
  const box = element.getBoundingClientRect();
  return { clientX: box.right, clientY: box.top };
};
const cellOf = new WeakMap();
const pointed = (image) => {
  const [column, row] = cellOf.get(image) || [0, 0];
  const box = image.getBoundingClientRect();
  const across = ((column + 0.5) / image.naturalWidth) * box.width;
  const down = ((row + 0.5) / image.naturalHeight) * box.height;
  return { clientX: box.left + across, clientY: box.top + down };
};
document.addEventListener("focusin", (event) => {
  if (event.target.matches("img.heat")) return tell(heat(event.target, pointed(event.target)), pointed(event.target));
  const mark = event.target.closest(`svg ${MARK}`);
  tell(mark ? mark.getAttribute("aria-label") : "", mark ? beside(mark) : event);
});
const STEPS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") tip.hidden = true;
  const step = STEPS[event.key];
  if (!step) return;
  const image = event.target.closest("img.heat");
  const mark = event.target.closest(`svg ${MARK}`);
  if (!image && !mark) return;
  event.preventDefault();
  if (image) {
    const limits = [image.naturalWidth, image.naturalHeight];
    const from = cellOf.get(image) || [0, 0];
    cellOf.set(image, from.map((place, axis) => Math.max(0, Math.min(limits[axis] - 1, place + step[axis]))));
    return tell(heat(image, pointed(image)), pointed(image));
  }
  const all = marks(mark.closest("svg"));
  const next = all[all.indexOf(mark) + step[0] + step[1]];
  if (!next) return;
  mark.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
});
document.addEventListener("change", (event) => {
  const figure = event.target.closest("figure.switch");
  if (!figure) return;
  figure.querySelectorAll(".choice").forEach((choice, place) => { choice.hidden = place !== Number(event.target.value); });
});
const save = (blob, name) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
const SCALE = 2;
const saveAsPng = (drawing, vector, name) => {
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas");
    canvas.width = SCALE * drawing.getAttribute("width");
    canvas.height = SCALE * drawing.getAttribute("height");
    const context = canvas.getContext("2d");
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(image.src);
    canvas.toBlob((blob) => save(blob, name + ".png"), "image/png");
  };
  image.src = URL.createObjectURL(vector);
};
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("button[data-save], button[data-copy]");
  if (!button) return;
  if (button.dataset.copy !== undefined) {
    const text = document.getElementById(button.dataset.copy).textContent;
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => { button.textContent = "Copied"; }, () => {});
    return;
  }
  const figure = button.closest("figure");
  const drawing = (figure.querySelector(".choice:not([hidden])") || figure).querySelector(".wide svg");
  const vector = new Blob([drawing.outerHTML], { type: "image/svg+xml" });
  if (button.dataset.as === "png") saveAsPng(drawing, vector, button.dataset.save);
  else save(vector, button.dataset.save + ".svg");
});
