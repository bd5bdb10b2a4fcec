// A batch, as a Node program would run it: upload, create, follow, read, list.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ maxRetries: 0 });
const prompts = Array.from({ length: 12 }, (_, number) => (number === 5 ? "STATUS 400" : `Question ${number}`));
const lines = prompts.map((content, number) =>
  JSON.stringify({
    custom_id: `r${number}`,
    method: "POST",
    url: "/v1/chat/completions",
    body: { model: "fake", messages: [{ role: "user", content }] },
  }),
);

const file = await client.files.create({
  file: await toFile(Buffer.from(lines.join("\n")), "requests.jsonl"),
  purpose: "batch",
});
let batch = await client.batches.create({
  input_file_id: file.id,
  endpoint: "/v1/chat/completions",
  completion_window: "24h",
  metadata: { from: "node" },
});
assert.equal(batch.object, "batch");
assert.equal(batch.status, "validating");

while (!["completed", "failed", "expired", "cancelled"].includes(batch.status)) {
  await sleep(100);
  batch = await client.batches.retrieve(batch.id);
}
assert.equal(batch.status, "completed");
assert.deepEqual(batch.request_counts, { total: 12, completed: 11, failed: 1 });
assert.deepEqual(batch.metadata, { from: "node" });
assert.equal(batch.usage.total_tokens, batch.usage.input_tokens + batch.usage.output_tokens);

const read = async (id) => (await (await client.files.content(id)).text()).trim().split("\n").map(JSON.parse);
const output = await read(batch.output_file_id);
assert.deepEqual(
  output.map((line) => line.custom_id),
  prompts.map((_, number) => `r${number}`).filter((id) => id !== "r5"),
);
assert.ok(output.every((line) => line.response.body.choices[0].message.content.length > 0));
const [failed] = await read(batch.error_file_id);
assert.equal(failed.custom_id, "r5");
assert.equal(failed.response.status_code, 400);

const again = await client.batches.create({
  input_file_id: file.id,
  endpoint: "/v1/chat/completions",
  completion_window: "24h",
});
const listed = [];
for await (const found of client.batches.list({ limit: 1 })) listed.push(found.id);
assert.deepEqual(listed, [again.id, batch.id]);

const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert.deepEqual(models, ["fake"]);
