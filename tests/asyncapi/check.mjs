// Checks docs/asyncapi.yaml: the parser of AsyncAPI finds no error, and every topic and stream has messages.
import { Parser, fromFile } from "@asyncapi/parser";
import { fileURLToPath } from "node:url";

const file = fileURLToPath(new URL("../../docs/asyncapi.yaml", import.meta.url));
const { document, diagnostics } = await fromFile(new Parser(), file).parse();
// Severity 0 is an error, 1 a warning; the rest is advice on style.
const wrong = diagnostics.filter(({ severity }) => severity <= 1);
for (const { code, message, path, range } of wrong) {
  console.error(`docs/asyncapi.yaml:${range.start.line + 1} ${code} ${path.join(".")}: ${message}`);
}
if (wrong.length > 0 || !document) {
  process.exit(1);
}
for (const channel of document.allChannels().all()) {
  if (channel.messages().isEmpty()) {
    console.error(`${channel.address()} has no message`);
    process.exit(1);
  }
}
console.log(`docs/asyncapi.yaml: ${document.allChannels().length} channels, ${document.allMessages().length} messages`);
