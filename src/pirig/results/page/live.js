// Asks once a second what has changed and puts it in place. Reads only.
"use strict";
let seen = -1;

function replace(id, html) {
  const old = document.getElementById(id);
  const made = document.createElement("template");
  made.innerHTML = html;
  for (const image of made.content.querySelectorAll("img[data-slot]")) {
    const known = old.querySelector(`img[data-slot="${image.dataset.slot}"]`);
    if (!known) continue;
    if (known.getAttribute("src") !== image.getAttribute("src")) known.src = image.getAttribute("src");
    known.alt = image.alt;
    image.replaceWith(known); // which shows its old picture until the new one is there
  }
  old.replaceWith(made.content);
}

async function ask() {
  try {
    const answer = await fetch(`state?seen=${seen}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const state = await answer.json();
    for (const [id, html] of Object.entries(state.fragments)) replace(id, html);
    document.title = state.title;
    seen = state.revision;
    document.getElementById("lost").hidden = true;
  } catch {
    document.getElementById("lost").hidden = false;
  }
  setTimeout(ask, 1000);
}
ask();
