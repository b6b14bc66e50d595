// What the scores are called, how they are written, which end of them is good.
const TIMES = "share";
const SCORES = {
  gain_db: { label: "gain over bicubic", unit: "dB", good: "high", zero: true, about: "PSNR of SR minus PSNR of bicubic" },
  psnr_db: { label: "PSNR", unit: "dB", good: "high", about: "peak signal to noise against the aerial image; prefers blur" },
  cpsnr_db: { label: "cPSNR", unit: "dB", good: "high", about: "PSNR that forgives small shifts and brightness" },
  ssim: { label: "SSIM", digits: 3, good: "high", about: "likeness of structure to the aerial image, 1 at best" },
  sam_deg: { label: "spectral angle", unit: "°", good: "low", about: "how far colours are turned" },
  ergas: { label: "ERGAS", good: "low", about: "error relative to the mean of each band" },
  lpips: { label: "LPIPS", digits: 3, good: "low", about: "distance as seen by a network" },
  detail: { label: "detail", unit: TIMES, about: "share of the aerial image's fine detail that is there" },
  improvement: { label: "improvement", digits: 3, good: "high", about: "share of change that goes towards the truth" },
  omission: { label: "omission", digits: 3, good: "low", about: "share of true detail left out" },
  hallucination: { label: "hallucination", digits: 3, good: "low", about: "share of detail that is made up" },
  lr_consistency: { label: "LR consistency", digits: 4, good: "low", about: "RMSE against the satellite image; needs no reference" },
  hf_power: { label: "fine power", digits: 1, about: "power of the finest detail; needs no reference" },
  fcn_mean_iou: { label: "map: mean IoU", digits: 3, good: "high", about: "of a map made of it, against the labels" },
  fcn_accuracy: { label: "map: accuracy", digits: 3, good: "high", about: "share of pixels whose class is the label" },
  fcn_mean_accuracy: { label: "map: mean accuracy", digits: 3, good: "high", about: "the same, mean over classes" },
  fcn_same_mean_iou: { label: "map as of aerial: mean IoU", digits: 3, good: "high", about: "of a map made of it, against that of the aerial image" },
  fcn_same_accuracy: { label: "map as of aerial: accuracy", digits: 3, good: "high", about: "share of pixels of the same class in both maps" },
  fcn_same_mean_accuracy: { label: "map as of aerial: mean accuracy", digits: 3, good: "high", about: "the same, mean over classes" },
  uncertainty: { label: "uncertainty", digits: 1, unit: "DN", good: "low", about: "spread of the model's answers" },
  valid_fraction: { label: "valid part", unit: TIMES, about: "part of the tile that could be compared" },
  cloud_share: { label: "cloud", unit: TIMES, good: "low", about: "part of the tile under cloud" },
  gap_days: { label: "days apart", digits: 1, about: "between the satellite and the aerial image" },
  registration_residual_px: { label: "registration residual", unit: "LR px", about: "shift left between SR and the aerial image" },
  category: { label: "land cover" }, split: { label: "split" },
  satellite_id: { label: "satellite scene" }, aerial_id: { label: "aerial scene" },
  model: { label: "model" }, model_version: { label: "model version" }, store_version: { label: "store version" },
};
const OTHER = typeof SUMMARY.other === "string" && SUMMARY.other ? SUMMARY.other : "other";
const PREFIXES = { bicubic_: "bicubic", other_: OTHER, real_: "aerial" };

/** Name, unit and manner of writing of a column, also of one never heard of. */
function scoreOf(name) {
  if (SCORES[name]) return { ...SCORES[name], who: "", base: name };
  const prefix = Object.keys(PREFIXES).find((p) => name.startsWith(p));
  if (!prefix) return { label: name.replaceAll("_", " "), who: "", base: name };
  const base = name.slice(prefix.length), score = SCORES[base];
  const who = PREFIXES[prefix];
  return { ...score, label: `${who}: ${score?.label ?? base.replaceAll("_", " ")}`, who, base };
}
function writeScore(name, value, unit = true) {
  const score = scoreOf(name);
  if (value === null || value === undefined || typeof value === "string") return value ?? "–";
  if (score.unit === TIMES) return percent(value);
  const digits = score.digits ?? (SCORES[score.base] ? 2 : Number.isInteger(value) ? 0 : digitsFor(Math.abs(value) || 1));
  return fixed(value, digits, score.zero) + (unit && score.unit ? ` ${score.unit}` : "");
}
/** Name with its unit, for axes and heads of columns. */
const titleOf = (name) => {
  const { label, unit } = scoreOf(name);
  return unit && unit !== TIMES ? `${label} (${unit})` : label;
};
const goodEnd = (name) => ({ high: "higher is better", low: "lower is better" })[scoreOf(name).good] ?? "";
