/** Digits beyond what the model's arithmetic holds, or a clock measures, only suggest a precision they lack. */
export function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
