// What scripts add to pages that are complete without them: the menu is closed by Escape, the form of the
// preferences is sent when a choice changes, the calls in progress follow their changes, what is being worked on is
// read again, what takes a moment is put in its place, texts are copied, and addresses have no empty fields.
addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  const menu = document.querySelector('details.menu[open]');
  if (!menu || !menu.contains(document.activeElement)) return;
  menu.open = false;
  menu.querySelector('summary').focus();
});
// The page of calls in progress: a stream says when they changed, and the page is read again, at most every
// two seconds. A page that is not visible waits.
const stream = document.querySelector('[data-changes]');
if (stream && 'EventSource' in window) {
  const events = new EventSource(stream.dataset.changes);
  let waits = false;
  const read = () => {
    if (waits) return;
    waits = true;
    setTimeout(() => {
      waits = false;
      if (document.visibilityState === 'visible') document.querySelector('[data-changes]').dispatchEvent(new Event('changed'));
    }, 250);
  };
  events.addEventListener('changed', read);
  document.addEventListener('visibilitychange', read);
}
addEventListener('change', (event) => {
  const form = event.target.closest('form[data-send-on-change]');
  if (form) form.requestSubmit();
});
// Empty fields are no part of an address.
addEventListener('formdata', (event) => {
  if (event.target.method !== 'get') return;
  for (const [name, value] of [...event.formData]) if (value === '') event.formData.delete(name);
});
// A part of a page that changes by itself is read again every few seconds, as long as it is visible and not in use.
const readAt = new Map();
setInterval(() => {
  if (document.visibilityState !== 'visible') return;
  for (const part of document.querySelectorAll('[data-again]')) {
    const last = readAt.get(part.id) ?? 0;
    if (Date.now() - last < part.dataset.again * 1000 || part.contains(document.activeElement)) continue;
    readAt.set(part.id, Date.now());
    if (last) part.dispatchEvent(new Event('changed'));
  }
}, 500);
// A text is copied by a button beside it.
for (const button of document.querySelectorAll('[data-copy]')) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    const said = document.getElementById('copied');
    said.textContent = '';
    requestAnimationFrame(() => (said.textContent = said.dataset.copied));
    button.dataset.done = '';
    setTimeout(() => delete button.dataset.done, 2000);
  });
}
// What may take seconds is on a page of its own, and comes from there. Parsed by the request, which needs no policy
// of trusted types. What the page of an error says is shown in its place; a page of something else is that of a
// session that has ended.
for (const place of document.querySelectorAll('[data-content]')) {
  const request = new XMLHttpRequest();
  request.responseType = 'document';
  // Longer than the server takes at most.
  request.timeout = 60000;
  request.addEventListener('load', () => {
    const content = request.response?.getElementById(place.id);
    const error = request.status >= 400 && request.response?.getElementById('content');
    if (content) place.replaceWith(document.adoptNode(content));
    else if (error) place.replaceChildren(...[...error.children].map((part) => document.adoptNode(part)));
    else return location.replace(place.dataset.content);
    delete place.dataset.content;
    place.ariaBusy = 'false';
    const said = document.getElementById('answered');
    said.textContent = said.dataset.answered;
    document.dispatchEvent(new Event('content'));
  });
  const lost = () => {
    place.ariaBusy = 'false';
    for (const part of place.querySelectorAll('[data-lost]')) part.hidden = !part.hidden;
  };
  request.addEventListener('error', lost);
  request.addEventListener('timeout', lost);
  request.open('GET', place.dataset.content);
  request.send();
}
