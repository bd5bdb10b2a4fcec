// Files, as a Node program would keep them.
import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ maxRetries: 0 });
const content = Buffer.from('{"é":"\\u2028"}\r\n\n');
const made = [];
for (let number = 0; number < 5; number += 1) {
  const file = await client.files.create({
    file: await toFile(content, `f${number}.jsonl`),
    purpose: "batch",
    expires_after: { anchor: "created_at", seconds: 3600 },
  });
  assert.equal(file.expires_at - file.created_at, 3600);
  assert.equal(file.bytes, content.length);
  made.push(file.id);
}
assert.equal((await client.files.waitForProcessing(made[0])).status, "processed");

const listed = [];
for await (const file of client.files.list({ limit: 2, order: "asc" })) listed.push(file.id);
assert.deepEqual(listed, made);

const answer = await client.files.content(made[0]);
assert.deepEqual(Buffer.from(await answer.arrayBuffer()), content);
assert.deepEqual(await client.files.delete(made[0]), { id: made[0], object: "file", deleted: true });
await assert.rejects(client.files.retrieve(made[0]), OpenAI.NotFoundError);
