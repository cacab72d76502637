/** Styles of the elements: custom properties that an app may set, light and dark, forced colours, right to left. */

const COMMON = `
:host{color-scheme:light dark;font:var(--onrecord-font,600 1rem/1.4 system-ui,"Segoe UI",Roboto,"Noto Sans","Noto Sans Arabic","Noto Sans JP",sans-serif);display:block}
[hidden]{display:none!important}
button{font:inherit;cursor:pointer}
button:focus-visible{outline:3px solid currentColor;outline-offset:2px}
.icon{flex:none;inline-size:.75em;block-size:.75em;border-radius:50%;background:currentColor}
`;

export const BANNER_STYLE = `${COMMON}
:host{position:sticky;inset-block-start:0;z-index:var(--onrecord-z-index,1000)}
.banner,.pill{--b:var(--onrecord-on-background,light-dark(#9f1420,#b3202d));--c:var(--onrecord-on-color,#fff);background:var(--b);color:var(--c);border:1px solid transparent}
.banner{display:flex;align-items:center;gap:.75rem;padding:.625rem 1rem;box-sizing:border-box;min-block-size:2.75rem}
.text{flex:1;min-inline-size:0;overflow-wrap:anywhere}
.recording_paused{--b:var(--onrecord-paused-background,light-dark(#6b4a00,#7a5600));--c:var(--onrecord-paused-color,#fff)}
.recording_off,.transcription_off,.both_off{--b:var(--onrecord-off-background,light-dark(#2b3a42,#39505c));--c:var(--onrecord-off-color,#fff)}
.unknown{--b:var(--onrecord-unknown-background,light-dark(#494949,#5a5a5a));--c:var(--onrecord-unknown-color,#fff)}
.recording_paused .icon,.recording_paused.pill .icon{border-radius:0;background:linear-gradient(90deg,currentColor 33%,transparent 33% 67%,currentColor 67%)}
.recording_off .icon,.transcription_off .icon,.both_off .icon{border-radius:0}
.unknown .icon{background:none;border:2px solid currentColor;box-sizing:border-box}
.transcription_on .icon,.recording_off_transcription_on .icon{border-radius:2px}
.collapse{flex:none;inline-size:2rem;block-size:2rem;padding:0;background:none;color:inherit;border:1px solid currentColor;border-radius:.25rem}
.pill{display:inline-flex;align-items:center;gap:.5rem;margin:.5rem;padding:.25rem .75rem;min-block-size:2rem;border-radius:1rem;max-inline-size:calc(100% - 1rem);text-align:start}
@media (prefers-reduced-motion:no-preference){.banner{animation:onrecord-in .15s ease-out}@keyframes onrecord-in{from{transform:translateY(-.25rem)}}}
@media (forced-colors:active){.banner,.pill{background:Canvas;color:CanvasText;border-color:CanvasText}.icon{forced-color-adjust:none;color:CanvasText}.collapse{background:ButtonFace;color:ButtonText;border-color:ButtonText}}
@media print{:host{position:static}}
`;

export const CONSENT_STYLE = `${COMMON}
:host{font-weight:400}
.dialog{position:fixed;inset-block-end:1rem;inset-inline:1rem;margin-inline:auto;max-inline-size:34rem;max-block-size:calc(100vh - 2rem);overflow:auto;box-sizing:border-box;padding:1.25rem;background:var(--onrecord-dialog-background,light-dark(#fff,#1f2326));color:var(--onrecord-dialog-color,light-dark(#16191b,#f3f5f6));border:1px solid light-dark(#6b7378,#8d979d);border-radius:.5rem;box-shadow:0 .5rem 2rem #0006;z-index:calc(var(--onrecord-z-index,1000) + 1)}
.dialog:focus-visible{outline:3px solid currentColor;outline-offset:2px}
h2{font-size:1.125rem;margin:0 0 .5rem}
p{margin:0 0 1rem}
.failed{color:light-dark(#9f1420,#ffb3b3);font-weight:600}
.failed:empty{display:none}
.answers{display:flex;flex-wrap:wrap;gap:.75rem}
.answers button{flex:1 1 10rem;min-block-size:2.75rem;padding:.5rem 1rem;border-radius:.25rem;font-weight:600;border:2px solid var(--onrecord-accent,light-dark(#0b5394,#9fc5f8));background:none;color:var(--onrecord-accent,light-dark(#0b5394,#9fc5f8))}
.answers button:disabled{opacity:.6;cursor:progress}
.declined{margin:.5rem;padding:.25rem .75rem;min-block-size:2rem;border-radius:1rem;background:light-dark(#2b3a42,#39505c);color:#fff;border:1px solid transparent;text-align:start}
@media (forced-colors:active){.dialog,.declined{border-color:CanvasText}.answers button{border-color:ButtonText;color:ButtonText}}
`;
