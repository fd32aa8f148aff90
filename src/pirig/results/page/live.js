// Polls the server for changes once a second and updates the page. It only reads.
"use strict";
let seen = -1;
const kept = new Map(); // blob URLs of reports, by address

function replace(id, html) {
  const old = document.getElementById(id);
  const made = document.createElement("template");
  made.innerHTML = html;
  for (const image of made.content.querySelectorAll("img[data-slot]")) {
    const known = old.querySelector(`img[data-slot="${image.dataset.slot}"]`);
    if (!known) continue;
    if (known.getAttribute("src") !== image.getAttribute("src")) known.src = image.getAttribute("src");
    known.alt = image.alt;
    image.replaceWith(known); // it shows its old picture until the new one has loaded
  }
  old.replaceWith(made.content);
}

async function keep(link) {
  const address = link.getAttribute("href");
  if (!kept.has(address)) kept.set(address, URL.createObjectURL(await (await fetch(address)).blob()));
  link.href = kept.get(address); // it stays available when the server has stopped
}

async function ask() {
  try {
    const answer = await fetch(`state?seen=${seen}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const state = await answer.json();
    for (const [id, html] of Object.entries(state.fragments)) replace(id, html);
    for (const link of document.querySelectorAll("#ended a:not([href^='blob:'])")) await keep(link);
    document.title = state.title;
    seen = state.revision;
    document.getElementById("lost").hidden = true;
  } catch {
    document.getElementById("lost").hidden = false;
  }
  setTimeout(ask, 1000);
}
ask();
