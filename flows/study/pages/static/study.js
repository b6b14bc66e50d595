"use strict";
// Shows the images of a trial, for as long as they are to be seen, and takes one answer.

const main = document.querySelector("main");
const form = document.getElementById("answers");
const show = document.getElementById("show");
const images = [...document.querySelectorAll("img[data-src]")];
const buttons = [...form.querySelectorAll("button")];
const exposure = Number(main.dataset.exposure);
const KEYS = { r: "real", g: "generated", arrowleft: "left", arrowright: "right" };
let answerable = false;
let since = 0;

const frame = () => new Promise(requestAnimationFrame);

async function load() {
  for (const image of images) {
    image.src = image.dataset.src;
  }
  await Promise.all(images.map((image) => image.decode()));
}

// Frames begin before they are painted: an image that is unhidden before a frame is seen from that one
// on, and one that is hidden in a frame is gone with it.
async function flash() {
  show.hidden = true;
  images[0].hidden = false;
  const begun = await frame();
  let now = begun;
  let last = begun;
  let step = 0;
  do {
    now = await frame();
    step = now - last;
    last = now;
  } while (now - begun + step / 2 < exposure);
  images[0].hidden = true;
  images[0].removeAttribute("src");
  form.elements.exposure_ms.value = (now - begun).toFixed(1);
}

function allow() {
  answerable = true;
  since = performance.now();
  for (const button of buttons) {
    button.disabled = false;
  }
}

function say(answer) {
  const button = buttons.find((one) => one.value === answer);
  if (answerable && button) {
    button.click();
  }
}

form.addEventListener("submit", (event) => {
  if (!answerable) {
    event.preventDefault();
    return;
  }
  answerable = false;
  form.elements.took_ms.value = (performance.now() - since).toFixed(1);
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) {
    return;
  }
  const key = event.key.toLowerCase();
  if (key === " " && !show.hidden) {
    event.preventDefault();
    show.click();
  } else if (!show.hidden) {
    return;
  } else {
    say(KEYS[key] ?? key);
  }
});

async function begin() {
  try {
    await load();
  } catch {
    setTimeout(() => location.reload(), 2000); // what could not be loaded may be there then
    return;
  }
  if (exposure) {
    show.hidden = false;
    show.addEventListener("click", async () => {
      await flash();
      allow();
    }, { once: true });
    return;
  }
  for (const image of images) {
    image.hidden = false;
  }
  allow();
}

begin();
