/** The features that a calibration may name. A bundle that names another one is refused. */
export const featureNames = [
  /** Cosine of the caption's and the image's embedding. */
  'cosine',
  'meanLogProb',
  'logProb',
  /** Number of tokens of the caption, end of sentence included. */
  'length',
  /** Largest cosine of the image to a centroid of training images; it falls with the distance to the training data. */
  'familiarity',
  /** Share of the most certain concept in the detection softmax. */
  'conceptScore',
  /** See `RankingRule`: where no other feature differs among candidates, the best one has the highest confidence. */
  'rankScore',
  /** Rank score of the best candidate minus that of this one; 0 for the best. */
  'candidateMargin',
] as const;

/** The features that any text compared with an image has; a calibration of `matchProbability` may name only these. */
export const matchFeatureNames = ['cosine', 'familiarity'] as const satisfies readonly FeatureName[];

export type FeatureName = (typeof featureNames)[number];

export type Features<Name extends FeatureName = FeatureName> = Readonly<Record<Name, number>>;

/** A logistic regression on standardised features. All arrays have one entry for each feature. */
export interface LogisticCalibration<Name extends FeatureName = FeatureName> {
  readonly features: readonly Name[];
  readonly mean: readonly number[];
  readonly scale: readonly number[];
  readonly coefficients: readonly number[];
  readonly intercept: number;
}

/**
 * The calibrated probability, 0…1: sigmoid(intercept + Σ coefficient · (feature − mean) / scale).
 * @throws Error when the arrays of the calibration differ in length
 */
export function predictProbability<Name extends FeatureName>(
  calibration: LogisticCalibration<Name>,
  features: Features<Name>,
): number {
  let logit = calibration.intercept;
  for (const [index, name] of calibration.features.entries()) {
    const mean = calibration.mean[index];
    const scale = calibration.scale[index];
    const coefficient = calibration.coefficients[index];
    if (mean === undefined || scale === undefined || coefficient === undefined) {
      throw new Error(`the calibration has no mean, scale or coefficient for ${name}`);
    }
    logit += (coefficient * (features[name] - mean)) / scale;
  }
  return 1 / (1 + Math.exp(-logit));
}
