import { useState } from "preact/hooks";

import { json, type UsageRow } from "../api/client.ts";
import type { Failure } from "../chat/answer.ts";
import { failureOf } from "../chat/run.ts";
import { copyText } from "../render/code.ts";
import { FailureView } from "./answer.tsx";
import { barsOf, days } from "./bars.ts";
import { BarChart, dateOf } from "./charts.tsx";
import { money, Sheet, UsageTable } from "./usage.tsx";

interface Key {
  id: string;
  name: string;
  owner: string;
  status: string;
  enabled: boolean;
  last_used_at: number | null;
  limits: Record<string, number | string | null>;
  in_flight: number;
  totals: { requests: number; prompt_tokens: number; completion_tokens: number; cost: string };
}
type Row = UsageRow & { key: string | null };

/** In days. */
const SPAN = 14;
const LIMITS: [string, string][] = [
  ["concurrent_streams", "Streams at once"],
  ["requests_per_minute", "Requests a minute"],
  ["tokens_per_day", "Tokens a day"],
  ["tokens_per_month", "Tokens a month"],
  ["cost_per_month", "Cost a month, $"],
];

/** Keys and usage of all, for who has the admin secret. It is kept in no storage. */
export function Admin() {
  const [secret, setSecret] = useState("");
  const [entered, setEntered] = useState("");
  const [keys, setKeys] = useState<Key[] | null>(null);
  const [next, setNext] = useState<string | null>(null);
  const [rows, setRows] = useState<Row[]>([]);
  const [made, setMade] = useState("");
  const [changing, setChanging] = useState<Key | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);

  const attempt = async (act: () => Promise<void>): Promise<void> => {
    try {
      setFailure(null);
      await act();
    } catch (error) {
      setFailure(failureOf(error));
    }
  };
  const read = async (by: string): Promise<void> => {
    const since = new Date(Date.now() - (SPAN - 1) * 86_400_000).toISOString().slice(0, 10);
    const page = await json<{ data: Key[]; next: string | null }>(by, "/admin/v1/keys?limit=100");
    const used = await json<{ data: Row[] }>(by, `/admin/v1/usage?by=day,key&since=${since}`);
    setKeys(page.data);
    setNext(page.next);
    setRows(used.data);
  };
  const more = (): Promise<void> =>
    attempt(async () => {
      const after = encodeURIComponent(next ?? "");
      const page = await json<{ data: Key[]; next: string | null }>(
        secret,
        `/admin/v1/keys?limit=100&after=${after}`,
      );
      setKeys([...(keys ?? []), ...page.data]);
      setNext(page.next);
    });
  const patch = (key: Key, body: unknown): Promise<void> =>
    attempt(async () => {
      await json(secret, `/admin/v1/keys/${key.id}`, { method: "PATCH", body });
      setChanging(null);
      await read(secret);
    });

  if (!keys) {
    return (
      <Sheet>
        <h1>Keys and usage of all</h1>
        <form
          class="row-form door"
          onSubmit={(event) => {
            event.preventDefault();
            void attempt(async () => {
              await read(entered.trim());
              setSecret(entered.trim());
              setEntered("");
            });
          }}
        >
          <label>
            <span>Admin secret</span>
            <input
              type="password"
              autocomplete="off"
              value={entered}
              onInput={(event) => setEntered(event.currentTarget.value)}
            />
          </label>
          <button type="submit" class="primary" disabled={!entered.trim()}>
            Continue
          </button>
        </form>
        {failure && <FailureView failure={failure} />}
        <p class="hint">
          The secret is in Secrets Manager; the output <code>AdminSecretArn</code> of the stack
          names it. This page forgets it when you leave the page or load it again.
        </p>
      </Sheet>
    );
  }
  const named = new Map(keys.map((it) => [it.id, it.name]));
  const first = new Date(Date.now() - (SPAN - 1) * 86_400_000).toISOString().slice(0, 10);
  const { bars, names } = barsOf(
    rows,
    days(first, new Date().toISOString().slice(0, 10)),
    (row) => named.get(row.key ?? "") ?? row.key ?? "",
  );
  return (
    <Sheet>
      <h1>Keys and usage of all</h1>
      {failure && <FailureView failure={failure} />}
      {made && (
        <div class="secret" role="status">
          <span>The new key, shown only now:</span> <code>{made}</code>
          <button type="button" class="primary" onClick={() => void copyText(made)}>
            Copy
          </button>
          <button type="button" class="quiet" onClick={() => setMade("")}>
            Hide
          </button>
        </div>
      )}
      <KeyForm
        action="Create a key"
        onDone={(name, limits) =>
          attempt(async () => {
            const key = await json<{ secret: string }>(secret, "/admin/v1/keys", {
              body: { name, ...(Object.keys(limits).length ? { limits } : {}) },
            });
            setMade(key.secret);
            await read(secret);
          })
        }
      />
      {changing && (
        <KeyForm
          key={changing.id}
          action={`Limit ${changing.name}`}
          changed={changing}
          onCancel={() => setChanging(null)}
          onDone={(name, limits) => patch(changing, { name, limits })}
        />
      )}
      <div class="table-scroll" tabIndex={0} role="region" aria-label="Keys">
        <table>
          <thead>
            <tr>
              <th scope="col">key</th>
              <th scope="col">status</th>
              <th scope="col" class="number">
                running
              </th>
              <th scope="col" class="number">
                requests
              </th>
              <th scope="col" class="number">
                tokens
              </th>
              <th scope="col" class="number">
                cost
              </th>
              <th scope="col">last used</th>
              <th scope="col">
                <span class="hidden">actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {keys.map((key) => (
              <tr key={key.id}>
                <th scope="row">
                  {key.name} <small class="mono">{key.id}</small>
                </th>
                <td class={`status-${key.status}`}>{key.status}</td>
                <td class="number">{key.in_flight}</td>
                <td class="number">{key.totals.requests.toLocaleString("en")}</td>
                <td class="number">
                  {(key.totals.prompt_tokens + key.totals.completion_tokens).toLocaleString("en")}
                </td>
                <td class="number">{money(key.totals.cost)}</td>
                <td>
                  {key.last_used_at
                    ? dateOf(new Date(1000 * key.last_used_at).toISOString().slice(0, 10))
                    : "never"}
                </td>
                <td class="acts">
                  <button type="button" class="quiet" onClick={() => setChanging(key)}>
                    Limit
                  </button>
                  <button
                    type="button"
                    class="quiet"
                    onClick={() => void patch(key, { enabled: !key.enabled })}
                  >
                    {key.enabled ? "Disable" : "Enable"}
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {next && (
        <button type="button" class="quiet" onClick={() => void more()}>
          More keys
        </button>
      )}
      <section class="by-day" aria-label="Tokens by day and key">
        <div class="bar">
          <h2>Tokens by day and key</h2>
        </div>
        <BarChart bars={bars} names={names} title="Tokens by day and key" />
      </section>
      <UsageTable
        by="key"
        rows={rows.map((row) => {
          const id = row.key ?? "";
          return { ...row, id, name: named.get(id) ?? id };
        })}
        empty="No rows yet."
      />
    </Sheet>
  );
}

interface FormProps {
  action: string;
  changed?: Key;
  onDone: (name: string, limits: Record<string, number | string | null>) => Promise<void>;
  onCancel?: () => void;
}

function KeyForm({ action, changed, onDone, onCancel }: FormProps) {
  const [name, setName] = useState(changed?.name ?? "");
  const [values, setValues] = useState<Record<string, string>>(() =>
    Object.fromEntries(LIMITS.map(([it]) => [it, String(changed?.limits[it] ?? "")])),
  );
  return (
    <form
      class="row-form"
      aria-label={action}
      onSubmit={(event) => {
        event.preventDefault();
        const limits: Record<string, number | string | null> = {};
        for (const [it] of LIMITS) {
          const value = values[it]?.trim() ?? "";
          if (value === "" && !changed) continue; // the deployment's default
          limits[it] = value === "" ? null : it.startsWith("cost") ? value : Number(value);
        }
        void onDone(name, limits).then(() => !changed && setName(""));
      }}
    >
      <label>
        <span>Name</span>
        <input
          required
          maxLength={128}
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
      </label>
      {LIMITS.map(([it, label]) => (
        <label key={it}>
          <span>{label}</span>
          <input
            inputMode="decimal"
            placeholder={changed ? "no limit" : "default"}
            value={values[it] ?? ""}
            onInput={(event) => setValues({ ...values, [it]: event.currentTarget.value })}
          />
        </label>
      ))}
      <button type="submit" class="primary">
        {action}
      </button>
      {onCancel && (
        <button type="button" class="quiet" onClick={onCancel}>
          Cancel
        </button>
      )}
    </form>
  );
}
