// Refusals, as a Node program would catch them.
import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";

let asked = 0;
const counted = (...call) => {
  asked += 1;
  return fetch(...call);
};
const client = new OpenAI({ maxRetries: 2, fetch: counted });

const refused = async (call, kind, check = () => {}) => {
  await assert.rejects(call, (fault) => {
    assert.ok(fault instanceof kind, fault.constructor.name);
    assert.ok(fault.requestID);
    check(fault);
    return true;
  });
};

const stranger = new OpenAI({ apiKey: "sk-wrong", maxRetries: 0 });
await refused(stranger.models.list(), OpenAI.AuthenticationError, (fault) =>
  assert.equal(fault.code, "invalid_api_key"),
);
await refused(client.batches.retrieve("batch_none"), OpenAI.NotFoundError);
await refused(
  client.files.create({ file: await toFile(Buffer.from("x"), "x.txt"), purpose: "batch" }),
  OpenAI.BadRequestError,
  (fault) => assert.match(fault.message, /Invalid file format for Batch API. Must be .jsonl/),
);

const file = await client.files.create({ file: await toFile(Buffer.from("{}"), "x.jsonl"), purpose: "batch" });
await refused(
  client.batches.create({ input_file_id: file.id, endpoint: "/v1/nonsense", completion_window: "24h" }),
  OpenAI.BadRequestError,
  (fault) => assert.equal(fault.param, "endpoint"),
);
await client.batches.create({
  input_file_id: file.id,
  endpoint: "/v1/chat/completions",
  completion_window: "24h",
});

// The server says that a conflict is not worth another try, and the client listens.
asked = 0;
await refused(client.files.delete(file.id), OpenAI.ConflictError);
assert.equal(asked, 1);
