// What the partner systems in Node share: their files, and messages made after a descriptor set.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const [port, folder, set] = process.argv.slice(2);

export const base = `https://localhost:${port}`;
export const tls = {
  ca: readFileSync(join(folder, "offline/authority.pem")),
  cert: readFileSync(join(folder, "systems/revenues.pem")),
  key: readFileSync(join(folder, "systems/revenues.key.pem")),
};
export const headers = {
  "Drawbridge-Provider": "trust.example",
  "Drawbridge-Purpose": "safeguarding",
  "Drawbridge-Case": "case-1",
};
export const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(set)));
export const message = (name) => registry.getMessage(name);

// Says what was found, and ends even where connections stay open.
export function found(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`, () => process.exit(0));
}
