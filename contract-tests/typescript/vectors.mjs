// Reads the golden vectors as @bufbuild/protobuf does: from the descriptors alone, with no code of ours.
//
// Arguments: the folder of the npm packages, a descriptor set and the folder of the vectors. Each vector that is not the JSON beside
// it is printed, and the exit code is 1 then.

import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";

const [packages, descriptors, vectors] = process.argv.slice(2);
const require = createRequire(join(packages, "_"));
const { createFileRegistry, equals, fromBinary, fromJson, toBinary, toJson } = require("@bufbuild/protobuf");
const { FileDescriptorSetSchema } = require("@bufbuild/protobuf/wkt");

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
let read = 0;
let wrong = 0;
for (const name of readdirSync(vectors).sort()) {
  const schema = registry.getMessage(name);
  for (const file of readdirSync(join(vectors, name)).filter((file) => file.endsWith(".hex"))) {
    const path = join(vectors, name, file);
    const bytes = Buffer.from(readFileSync(path, "utf8").replace(/\s/g, ""), "hex");
    const expected = JSON.parse(readFileSync(path.replace(/hex$/, "json"), "utf8"));
    const message = fromBinary(schema, bytes);
    const found = toJson(schema, message, { registry });
    const isAlike =
      isDeepStrictEqual(found, expected) &&
      equals(schema, fromBinary(schema, toBinary(schema, message)), message) &&
      equals(schema, fromJson(schema, expected, { registry }), message);
    if (!isAlike) {
      console.log(`${name}/${file.replace(/\.hex$/, "")}: ${JSON.stringify(found)}`);
      wrong += 1;
    }
    read += 1;
  }
}
console.log(`vectors read: ${read}`);
process.exitCode = wrong > 0 || read === 0 ? 1 : 0;
