// The tokens of an answer that was stopped. Its last event has none, because the deployment settles
// them afterwards.

import { json } from "../api/client.ts";
import type { Answer } from "./answer.ts";

interface State {
  usage?: { prompt_tokens?: number; completion_tokens?: number };
}

/** When the state is asked for, in milliseconds after the end. */
const TRIES = [300, 1000, 3000, 8000];

/** Give a stopped answer its usage as soon as the deployment has it. Return whether it has come. */
export async function billed(key: string, answer: Answer, tries = TRIES): Promise<boolean> {
  const id = answer.responseId;
  if (!id || answer.status !== "cancelled" || answer.usage) return false;
  const path = `/v1/sluice/streams/${encodeURIComponent(id)}?wait=0`;
  for (const wait of tries) {
    await new Promise((resume) => setTimeout(resume, wait));
    const { usage } = await json<State>(key, path).catch((): State => ({}));
    // Every prompt has tokens, so without any the request is not settled yet.
    if (usage?.prompt_tokens) {
      answer.usage = {
        input_tokens: usage.prompt_tokens,
        output_tokens: usage.completion_tokens ?? 0,
      };
      answer.changed("shape");
      return true;
    }
  }
  return false;
}
