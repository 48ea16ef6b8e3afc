// Judge cases in bulk: reads a JSON array of {bundle, record?, id?, expected?, anchors?} (base64) from the file named on the
// command line and writes one verdict a case ("valid" or the reason) with the milliseconds it took.
import { readFileSync, writeFileSync } from "node:fs";
import { Rejected, checkBundle, checkHead, checkRecord } from "./verifier.mjs";

const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const [, , input, output] = process.argv;
const verdicts = JSON.parse(readFileSync(input, "utf8")).map((item) => {
  const start = performance.now();
  let verdict = "valid";
  try {
    const anchors = { ...(item.anchors ?? {}) };
    if (anchors.previous) anchors.previous = bytes(anchors.previous);
    const data = bytes(item.bundle);
    if (item.record === undefined) checkBundle(data, anchors);
    else checkRecord(checkHead(data, anchors), bytes(item.record), item.id ?? null, item.expected ?? null);
  } catch (problem) {
    if (!(problem instanceof Rejected)) throw problem;
    verdict = problem.reason;
  }
  return { verdict, milliseconds: performance.now() - start };
});
writeFileSync(output, JSON.stringify(verdicts));
