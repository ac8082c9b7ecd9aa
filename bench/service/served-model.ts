import { type Static, Type } from 'typebox';
import { Value } from 'typebox/value';

const ServedModelSchema = Type.Object({
  id: Type.String(),
  version: Type.String(),
  provider: Type.String(),
  precision: Type.String(),
  /** Earlier versions, which have one provider only, do not tell it. */
  placement: Type.Optional(Type.Object({ decoder: Type.String() })),
});
export type ServedModel = Static<typeof ServedModelSchema>;

/** What the running service says it serves: `provider` and `precision` are what it chose. */
export async function servedModel(url: string): Promise<ServedModel> {
  const answer: unknown = await (await fetch(`${url}/v1/models`)).json();
  const { data } = Value.Parse(Type.Object({ data: Type.Tuple([ServedModelSchema]) }), answer);
  return data[0];
}
