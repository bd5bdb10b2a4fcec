// What this server adds to the SDK's own calls, through the Node client's `get` and `post`.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ maxRetries: 0 });
const FINAL = ["completed", "failed", "expired", "cancelled"];

async function submit(prompts) {
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
  return client.batches.create({
    input_file_id: file.id,
    endpoint: "/v1/chat/completions",
    completion_window: "24h",
    priority: 1,
  });
}

async function end(batch) {
  while (!FINAL.includes(batch.status)) {
    await sleep(100);
    batch = await client.batches.retrieve(batch.id);
  }
  return batch;
}

const batch = await end(await submit(["Hello", "STATUS 400", "Good night"]));
assert.equal(batch.priority, 1);
assert.equal(batch.model, "fake");

const results = await client.get(`/batches/${batch.id}/results`).asResponse();
assert.equal(results.headers.get("x-incomplete"), "false");
const lines = (await results.text()).trim().split("\n").map(JSON.parse);
assert.deepEqual(lines.map((line) => line.custom_id), ["r0", "r1", "r2"]);

const failed = await client.get(`/batches/${batch.id}/failed`);
assert.equal(failed.failed_count, 1);
assert.equal(failed.failed_requests[0].custom_id, "r1");
assert.equal(failed.failed_requests[0].request_index, 1);

const again = await end(await client.post(`/batches/${batch.id}/retry-failed`));
assert.deepEqual(again.request_counts, { total: 1, completed: 0, failed: 1 });
assert.equal(again.metadata.retried_from, batch.id);

const { logs } = await client.get(`/batches/${batch.id}/logs`);
assert.match(logs, /validated .*requests=3/);

const slow = await submit(Array.from({ length: 40 }, () => "SLOW 5"));
let queue = await client.get("/queue");
while (queue.current_job?.batch_id !== slow.id) {
  await sleep(100);
  queue = await client.get("/queue");
}
assert.equal(queue.current_job.progress.total_requests, 40);
assert.equal(queue.queue_length, 0);
const cancelling = await client.batches.cancel(slow.id);
assert.ok(["cancelling", "cancelled"].includes(cancelling.status));
assert.equal((await end(cancelling)).status, "cancelled");
await assert.rejects(client.batches.cancel(batch.id), OpenAI.ConflictError);

const history = await client.get("/jobs/history", { query: { status: "completed", limit: 1 } });
assert.equal(history.total, 2);
assert.equal(history.jobs[0].batch_id, again.id);
assert.equal(history.has_more, true);

const stats = await client.get("/jobs/stats");
assert.equal(stats.total_jobs, 3);
assert.equal(stats.by_status.cancelled, 1);
assert.equal(stats.timeline.length, 24);

assert.equal((await client.models.retrieve("fake")).id, "fake");
