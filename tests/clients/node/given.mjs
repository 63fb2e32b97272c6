// Where the two models are, and how the scripted one is told what to say.
const given = (name) => ({
  model: process.env[`SLUICE_${name}_MODEL`],
  baseURL: process.env[`SLUICE_${name}_URL`],
  apiKey: process.env[`SLUICE_${name}_KEY`],
});

export const demo = given("DEMO");
export const scripted = given("SCRIPTED");
export const script = (fields) => [{ role: "user", content: JSON.stringify(fields) }];
export const call = { name: "get_weather", arguments: ['{"city"', ': "Rö', 'm"}'] };
export const city = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
