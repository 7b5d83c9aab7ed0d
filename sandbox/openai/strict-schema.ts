interface Schema {
  type?: string | string[];
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: unknown;
  items?: Schema;
  anyOf?: Schema[];
  $defs?: Record<string, Schema>;
}

/** What strict mode refuses a schema for: each object names all its keys as required, and allows no others. */
export const faultOfSchema = (schema: Schema, at: string[] = []): string | undefined => {
  const context = `In context=(${at.map((step) => `'${step}'`).join(', ')})`;
  if (schema.properties ?? schema.type === 'object') {
    const keys = Object.keys(schema.properties ?? {});
    if (schema.additionalProperties !== false) return `${context}, 'additionalProperties' is required to be supplied and to be false.`;
    const missing = keys.find((key) => !schema.required?.includes(key));
    if (missing) return `${context}, 'required' is required to be supplied and to be an array including every key in properties. Missing '${missing}'.`;
  }
  const inner: [string, Schema][] = [
    ...Object.entries(schema.properties ?? {}).map(([key, value]): [string, Schema] => [`properties.${key}`, value]),
    ...Object.entries(schema.$defs ?? {}).map(([key, value]): [string, Schema] => [`$defs.${key}`, value]),
    ...(schema.anyOf ?? []).map((value, index): [string, Schema] => [`anyOf.${index}`, value]),
    ...(schema.items ? [['items', schema.items] as [string, Schema]] : []),
  ];
  for (const [step, value] of inner) {
    const fault = faultOfSchema(value, [...at, ...step.split('.')]);
    if (fault) return fault;
  }
  return undefined;
};
