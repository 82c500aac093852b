// A slider tells what it was set to when the pointer lets go of it; so it does when a key is let go of.
document.addEventListener("keyup", ({ target }) => {
  if (target.matches("input[type=range]")) target.dispatchEvent(new PointerEvent("pointerup", { bubbles: true }));
});
