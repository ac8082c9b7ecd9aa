/** Whether the name that a client asks for is one of the served model's; a tag `:latest` is left aside. */
export function isModelName(name: string, names: readonly string[]): boolean {
  const bare = (each: string): string => each.replace(/:latest$/, '');
  return names.some((each) => bare(each) === bare(name));
}
