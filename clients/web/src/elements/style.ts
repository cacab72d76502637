/**
 * Styles of the elements: custom properties that an app may set, light and dark, forced colours, right
 * to left. Every colour of the banner has a contrast of 7 to 1 with its words, in light and dark.
 */

const COMMON = `
:host{font:var(--onrecord-font,600 1rem/1.4 system-ui,"Segoe UI",Roboto,"Noto Sans","Noto Sans Arabic","Noto Sans JP",sans-serif);display:block}
[hidden]{display:none!important}
button{font:inherit;cursor:pointer}
button:focus-visible{outline:3px solid currentColor;outline-offset:2px}
.icon{flex:none;inline-size:.75em;block-size:.75em;border-radius:50%;background:currentColor}
`;

export const BANNER_STYLE = `${COMMON}
:host{position:sticky;inset-block-start:0;z-index:var(--onrecord-z-index,1000)}
.banner,.pill{background:var(--onrecord-on-background,#9f1420);color:var(--onrecord-on-color,#fff);border:1px solid transparent}
.banner{display:flex;align-items:center;gap:.75rem;padding:.625rem 1rem;box-sizing:border-box;min-block-size:2.75rem}
.text{flex:1;min-inline-size:0;overflow-wrap:anywhere}
.recording_paused{background:var(--onrecord-paused-background,#6b4a00);color:var(--onrecord-paused-color,#fff)}
.recording_off,.transcription_off,.both_off{background:var(--onrecord-off-background,#2f424d);color:var(--onrecord-off-color,#fff)}
.unknown{background:var(--onrecord-unknown-background,#494949);color:var(--onrecord-unknown-color,#fff)}
.recording_paused .icon{border-radius:0;background:linear-gradient(90deg,currentColor 33%,transparent 33% 67%,currentColor 67%)}
.recording_off .icon,.transcription_off .icon,.both_off .icon{border-radius:0}
.unknown .icon{background:none;border:2px solid currentColor;box-sizing:border-box}
.transcription_on .icon,.recording_off_transcription_on .icon{border-radius:2px}
.collapse{flex:none;inline-size:2rem;block-size:2rem;padding:0;background:none;color:inherit;border:1px solid currentColor;border-radius:.25rem}
.pill{display:inline-flex;align-items:center;gap:.5rem;margin:.5rem;padding:.25rem .75rem;min-block-size:2rem;border-radius:1rem;max-inline-size:calc(100% - 1rem);text-align:start}
@media (prefers-color-scheme:dark){.banner,.pill{border-color:#ffffff4d}.pill:focus-visible{outline-color:#fff}}
@media (prefers-color-scheme:light){.pill:focus-visible{outline-color:#000}}
@media (prefers-reduced-motion:no-preference){.banner{animation:onrecord-in .15s ease-out}@keyframes onrecord-in{from{transform:translateY(-.25rem)}}}
@media (forced-colors:active){.banner,.pill{background:Canvas;color:CanvasText;border-color:CanvasText}.icon{forced-color-adjust:none;color:CanvasText}.collapse{background:ButtonFace;color:ButtonText;border-color:ButtonText}.pill:focus-visible{outline-color:Highlight}}
@media print{:host{position:static}}
`;

export const CONSENT_STYLE = `${COMMON}
:host{font-weight:400;--b:#fff;--c:#16191b;--l:#6b7378;--a:#0b5394;--e:#9f1420}
@media (prefers-color-scheme:dark){:host{--b:#1f2326;--c:#f3f5f6;--l:#8d979d;--a:#9fc5f8;--e:#ffb3b3}}
.dialog{position:fixed;inset-block-end:1rem;inset-inline:1rem;margin-inline:auto;max-inline-size:34rem;max-block-size:calc(100vh - 2rem);overflow:auto;box-sizing:border-box;padding:1.25rem;background:var(--onrecord-dialog-background,var(--b));color:var(--onrecord-dialog-color,var(--c));border:1px solid var(--l);border-radius:.5rem;box-shadow:0 .5rem 2rem #0006;z-index:calc(var(--onrecord-z-index,1000) + 1)}
.dialog:focus-visible{outline:3px solid currentColor;outline-offset:2px}
h2{font-size:1.125rem;margin:0 0 .5rem}
p{margin:0 0 1rem}
.failed{color:var(--e);font-weight:600}
.failed:empty{display:none}
.answers{display:flex;flex-wrap:wrap;gap:.75rem}
.answers button{flex:1 1 10rem;min-block-size:2.75rem;padding:.5rem 1rem;border-radius:.25rem;font-weight:600;border:2px solid var(--onrecord-accent,var(--a));background:none;color:var(--onrecord-accent,var(--a))}
.answers button:disabled{opacity:.6;cursor:progress}
.declined{margin:.5rem;padding:.25rem .75rem;min-block-size:2rem;border-radius:1rem;background:#2f424d;color:#fff;border:1px solid transparent;text-align:start}
@media (forced-colors:active){.dialog{border-color:CanvasText}.declined{background:ButtonFace;color:ButtonText;border-color:ButtonText}.answers button{border-color:ButtonText;color:ButtonText}}
`;
