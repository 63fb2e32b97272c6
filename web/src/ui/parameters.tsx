import type { Model } from "../api/client.ts";
import type { Parameters } from "../chat/conversations.ts";

const EXAMPLE_TOOLS = `[{"name": "get_weather",
  "description": "Return the weather of a city",
  "parameters": {"type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"]}}]`;
const EXAMPLE_SCHEMA = `{"type": "object",
  "properties": {
    "name": {"type": "string"},
    "age": {"type": "integer"}},
  "required": ["name", "age"]}`;

interface Props {
  value: Parameters;
  models: Model[];
  onChange: (value: Parameters) => void;
}

/** Return the number that a field has; null for none. */
export function number(text: string): number | null {
  const value = Number.parseFloat(text);
  return Number.isFinite(value) ? value : null;
}

export function ModelChoice({
  value,
  models,
  onChange,
  label = "Model",
}: Props & { label?: string }) {
  return (
    <select
      class="model"
      aria-label={label}
      value={value.model}
      onChange={(event) => onChange({ ...value, model: event.currentTarget.value })}
    >
      {models.map((model) => (
        <option key={model.id} value={model.id}>
          {model.id}
        </option>
      ))}
      {!models.some((it) => it.id === value.model) && (
        <option value={value.model}>{value.model}</option>
      )}
    </select>
  );
}

/** The fields of a request. An empty one leaves its choice to the deployment. */
export function ParameterFields({ value, models, onChange }: Props) {
  const set = (change: Partial<Parameters>): void => onChange({ ...value, ...change });
  return (
    <div class="fields">
      <label>
        <span>Model</span>
        <ModelChoice value={value} models={models} onChange={onChange} />
      </label>
      <label>
        <span>Instructions</span>
        <textarea
          rows={4}
          value={value.instructions}
          placeholder="You are a careful editor."
          onInput={(event) => set({ instructions: event.currentTarget.value })}
        />
      </label>
      <div class="pair">
        <label>
          <span>Temperature</span>
          <input
            type="number"
            min="0"
            max="2"
            step="0.1"
            placeholder="default"
            value={value.temperature ?? ""}
            onInput={(event) => set({ temperature: number(event.currentTarget.value) })}
          />
        </label>
        <label>
          <span>Top p</span>
          <input
            type="number"
            min="0"
            max="1"
            step="0.05"
            placeholder="default"
            value={value.topP ?? ""}
            onInput={(event) => set({ topP: number(event.currentTarget.value) })}
          />
        </label>
      </div>
      <div class="pair">
        <label>
          <span>Max tokens</span>
          <input
            type="number"
            min="1"
            step="1"
            placeholder="no limit"
            value={value.maxTokens ?? ""}
            onInput={(event) => set({ maxTokens: number(event.currentTarget.value) })}
          />
        </label>
        <label>
          <span>Reasoning</span>
          <select
            value={value.effort}
            onChange={(event) => set({ effort: event.currentTarget.value })}
          >
            <option value="">default</option>
            {["none", "minimal", "low", "medium", "high"].map((effort) => (
              <option key={effort}>{effort}</option>
            ))}
          </select>
        </label>
      </div>
      <label>
        <span>Format</span>
        <select
          value={value.format}
          onChange={(event) => set({ format: event.currentTarget.value as Parameters["format"] })}
        >
          <option value="text">text</option>
          <option value="json_object">JSON</option>
          <option value="json_schema">JSON by a schema</option>
        </select>
      </label>
      {value.format === "json_schema" && (
        <label>
          <span>Schema</span>
          <textarea
            rows={6}
            class="mono"
            spellcheck={false}
            placeholder={EXAMPLE_SCHEMA}
            value={value.schema}
            onInput={(event) => set({ schema: event.currentTarget.value })}
          />
        </label>
      )}
      <label>
        <span>Tools</span>
        <textarea
          rows={value.tools ? 7 : 3}
          class="mono"
          spellcheck={false}
          placeholder={EXAMPLE_TOOLS}
          value={value.tools}
          onInput={(event) => set({ tools: event.currentTarget.value })}
        />
        <small>A list of functions, in JSON. When the model calls one, you write its result.</small>
      </label>
    </div>
  );
}
